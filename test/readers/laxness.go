package readers

import "strings"

// A Laxness is one way in which a parser that is in use somewhere reads more than it should; a set of them is their sum.
type Laxness uint32

// The laxnesses.
const (
	BareLF        Laxness = 1 << iota // LF alone ends a line
	BareCR                            // CR alone ends a line
	FoldJoined                        // a folded line continues the one before it
	FoldStripped                      // white space in front of a field name is dropped
	SpaceColon                        // white space in front of the colon is dropped
	FirstLength                       // of several Content-Length fields the first counts
	LastLength                        // the last
	LengthPrefix                      // the digits that Content-Length begins with
	LengthWins                        // over Transfer-Encoding
	CodingWins                        // over Content-Length
	LooseCoding                       // any Transfer-Encoding with the word chunked in it
	LooseName                         // '_' is '-', and control characters around names are dropped
	LooseValue                        // control characters and other white space around values are dropped
	SizePrefix                        // the hexadecimal digits that a chunk size begins with, behind 0x or a sign too
	SizeWraps                         // a chunk size is taken modulo 2^32
	LooseChunkEnd                     // no CR LF behind the data of a chunk
	ExtensionLF                       // LF alone ends a chunk's size line
	TrailerCounts                     // the fields of a trailer are taken for fields of the head
	NULEnds                           // NUL ends a value
	Spaces                            // any white space parts the request line
	EmptyLines                        // any number of empty lines, of CR, LF and white space, in front of a message
	OldVersions                       // any version
	IgnoredLength                     // Content-Length is not looked at: there is no body (CL.0)
	LastHost                          // the last of several Host fields counts
	LaxnessCount  = iota              // how many there are
)

var names = [LaxnessCount]string{
	"bare LF", "bare CR", "obs-fold joined", "obs-fold stripped", "space before colon", "first CL", "last CL", "CL prefix",
	"CL wins", "TE wins", "loose TE", "loose names", "loose values", "size prefix", "size wraps", "no CRLF behind a chunk",
	"LF ends a size line", "trailer counts", "NUL ends values", "spaces", "empty lines", "any version", "CL ignored", "last Host",
}

// String names the laxnesses of the set.
func (l Laxness) String() string {
	if l == All {
		return "everything"
	}
	var set []string
	for i, name := range names {
		if l&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, " + ")
}

// All are all laxnesses at once; where two exclude each other, one of them has its way.
const All = Laxness(1<<LaxnessCount - 1)
