package basic

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	maxList = 1 << 20 // bytes
	maxUser = 10000
	maxName = 255 // bytes of a name

	maxCost    = 14        // of bcrypt: about a second
	maxMemory  = 64 << 10  // KiB of argon2
	maxPasses  = 16        // of argon2
	maxWork    = 256 << 10 // KiB times passes
	maxThreads = 16
)

// A hash is what a password is compared with.
type hash interface{ matches(password []byte) bool }

type user struct {
	name string
	hash hash
}

// parseUsers reads a list: a name, a colon and a hash a line. Empty lines and those that begin with # say nothing. Errors
// name the line, and nothing of what is in it.
func parseUsers(list []byte) ([]user, error) {
	if len(list) > maxList {
		return nil, fmt.Errorf("the list has more than %d bytes", maxList)
	}
	var users []user
	seen := map[string]bool{}
	number := 0
	for line := range bytes.Lines(list) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, encoded, found := strings.Cut(text, ":")
		if !found {
			return nil, fmt.Errorf("line %d: it is not `name:hash`", number)
		}
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if seen[name] {
			return nil, fmt.Errorf("line %d: the name is there already", number)
		}
		seen[name] = true
		h, err := parseHash(strings.TrimRight(encoded, " \t"))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if users = append(users, user{name, h}); len(users) > maxUser {
			return nil, fmt.Errorf("there are more than %d users", maxUser)
		}
	}
	if len(users) == 0 {
		return nil, errors.New("there is no user in the list")
	}
	return users, nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.TrimSpace(name) != name || hasControl(name) {
		return fmt.Errorf("a name has 1 to %d bytes of UTF-8, no control characters and no space at its ends", maxName)
	}
	return nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func parseHash(encoded string) (hash, error) {
	switch {
	case strings.HasPrefix(encoded, "$2a$"), strings.HasPrefix(encoded, "$2b$"), strings.HasPrefix(encoded, "$2y$"):
		return parseBcrypt(encoded)
	case strings.HasPrefix(encoded, "$argon2id$"), strings.HasPrefix(encoded, "$argon2i$"):
		return parseArgon(encoded)
	}
	return nil, errors.New("the hash is none of bcrypt ($2y$) and argon2 ($argon2id$); `htpasswd -B` makes one")
}

// bcryptHash is $2y$COST$ with 22 characters of salt and 31 of hash behind it.
type bcryptHash []byte

func parseBcrypt(encoded string) (hash, error) {
	const length, head = 60, len("$2y$10$")
	cost, err := bcrypt.Cost([]byte(encoded))
	if err != nil || len(encoded) != length || strings.ContainsFunc(encoded[head:], notBcrypt) {
		return nil, errors.New("the bcrypt hash cannot be read")
	}
	if cost > maxCost {
		return nil, fmt.Errorf("the cost of the bcrypt hash is %d; %d is allowed", cost, maxCost)
	}
	return bcryptHash(encoded), nil
}

func notBcrypt(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '/'
}

func (h bcryptHash) matches(password []byte) bool {
	return bcrypt.CompareHashAndPassword(h, password) == nil
}

type argonHash struct {
	id             bool // argon2id, else argon2i
	memory, passes uint32
	threads        uint8
	salt, sum      []byte
}

// parseArgon reads the form of the Password Hashing Competition: $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH.
func parseArgon(encoded string) (hash, error) {
	broken := errors.New("the argon2 hash cannot be read")
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, broken
	}
	h := &argonHash{id: parts[1] == "argon2id"}
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return nil, broken
	}
	var values [3]uint64
	for i, prefix := range [...]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(numbers[i], prefix)
		if !ok {
			return nil, broken
		}
		var err error
		if values[i], err = strconv.ParseUint(digits, 10, 32); err != nil {
			return nil, broken
		}
	}
	memory, passes, threads := values[0], values[1], values[2]
	if passes < 1 || threads < 1 || memory < 8*threads {
		return nil, broken
	}
	if memory > maxMemory || passes > maxPasses || threads > maxThreads || memory*passes > maxWork {
		return nil, fmt.Errorf("the argon2 hash asks for m=%d,t=%d,p=%d; m=%d, t=%d, p=%d and m*t=%d are allowed",
			memory, passes, threads, maxMemory, maxPasses, maxThreads, maxWork)
	}
	h.memory, h.passes, h.threads = uint32(memory), uint32(passes), uint8(threads)
	var err1, err2 error
	h.salt, err1 = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.sum, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(h.salt) < 8 || len(h.salt) > 64 || len(h.sum) < 16 || len(h.sum) > 64 {
		return nil, broken
	}
	return h, nil
}

func (h *argonHash) matches(password []byte) bool {
	derive := argon2.Key
	if h.id {
		derive = argon2.IDKey
	}
	sum := derive(password, h.salt, h.passes, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}
