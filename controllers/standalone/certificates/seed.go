package certificates

import (
	"crypto/rand"
	"path/filepath"

	"github.com/pingora-proxy/pingora-proxy/controllers/standalone/files"
)

// seedBytes is the size of a seed.
const seedBytes = 32

// Seed returns the secret of this installation, which is made once and kept beside the certificates: keys are made of it
// that nobody has configured.
func (s *SelfSigned) Seed() []byte {
	if s == nil {
		return freshSeed()
	}
	if s.seed == nil {
		s.seed = s.keptSeed()
	}
	return s.seed
}

func (s *SelfSigned) keptSeed() []byte {
	if s.folder == "" {
		return freshSeed()
	}
	path := filepath.Join(s.folder, "seed")
	if kept, err := files.Read(path, maxBytes); err == nil && len(kept) == seedBytes {
		return kept
	}
	seed := freshSeed()
	if err := replaceFile(path, seed); err != nil {
		s.log.Error(err, "the secret that sticky cookies are signed with cannot be kept: they end with the process; set `sticky.key_ref`")
	}
	return seed
}

func freshSeed() []byte {
	seed := make([]byte, seedBytes)
	_, _ = rand.Read(seed) // it never fails
	return seed
}
