package exchange

import "bytes"

// A Header is an ordered list of header (or trailer) fields. A field read from the wire is two offsets into the head
// as it was read; a field added later lies in a buffer of the Header's own. Removing leaves a gap that At skips, so
// that indices stay valid while a filter walks the list.
//
// The zero Header is empty and ready to use. A Header is not safe for concurrent use.
type Header struct {
	base   []byte // the head as read; never written to
	extra  []byte // names and values added later, addressed from len(base) on
	fields []field
	seen   uint64 // a bit for each named ID that is (or was) present: makes the absent case one test

	underscored bool // the name of a field may have an underscore
}

type field struct {
	name, value uint32
	valueLen    uint32
	nameLen     uint16
	id          ID
	removed     bool
}

// Reset empties the header; fields appended with Append lie in base.
func (h *Header) Reset(base []byte) {
	h.base = base
	h.extra = h.extra[:0]
	h.fields = h.fields[:0]
	h.seen = 0
	h.underscored = false
}

// Append adds a field whose name and value stand in the base given to Reset. The codec calls it once a line.
func (h *Header) Append(id ID, name, nameLen, value, valueLen int) {
	h.seen |= 1 << id
	h.fields = append(h.fields, field{
		name: uint32(name), nameLen: uint16(nameLen),
		value: uint32(value), valueLen: uint32(valueLen), id: id,
	})
}

// Len is the number of places in the list, removed ones included.
func (h *Header) Len() int { return len(h.fields) }

// At returns the field in place i; ok is false where one was removed.
func (h *Header) At(i int) (id ID, name, value []byte, ok bool) {
	f := &h.fields[i]
	if f.removed {
		return 0, nil, nil, false
	}
	return f.id, h.bytes(f.name, uint32(f.nameLen)), h.bytes(f.value, f.valueLen), true
}

// RemoveAt removes the field in place i.
func (h *Header) RemoveAt(i int) { h.fields[i].removed = true }

func (h *Header) bytes(at, n uint32) []byte {
	if base := uint32(len(h.base)); at >= base {
		at -= base
		return h.extra[at : at+n : at+n]
	}
	return h.base[at : at+n : at+n]
}

// Has reports whether a field of that ID is present. It must not be Other.
func (h *Header) Has(id ID) bool {
	return h.seen&(1<<id) != 0 && h.index(id, 0) >= 0
}

// Value returns the value of the first field of that ID, or nil where there is none.
func (h *Header) Value(id ID) []byte {
	if h.seen&(1<<id) == 0 {
		return nil
	}
	if i := h.index(id, 0); i >= 0 {
		f := &h.fields[i]
		return h.bytes(f.value, f.valueLen)
	}
	return nil
}

// Next returns the place of the first field of that ID at or after place i, or -1.
func (h *Header) Next(id ID, i int) int {
	if h.seen&(1<<id) == 0 {
		return -1
	}
	return h.index(id, i)
}

func (h *Header) index(id ID, from int) int {
	for i := from; i < len(h.fields); i++ {
		if f := &h.fields[i]; f.id == id && !f.removed {
			return i
		}
	}
	return -1
}

// Get returns the value of the first field of that name in any case, and whether there is one.
func (h *Header) Get(name string) ([]byte, bool) {
	if id := Lookup(name); id != Other {
		if i := h.Next(id, 0); i >= 0 {
			f := &h.fields[i]
			return h.bytes(f.value, f.valueLen), true
		}
		return nil, false
	}
	for i := range h.fields {
		if f := &h.fields[i]; f.id == Other && !f.removed && EqualFold(h.bytes(f.name, uint32(f.nameLen)), name) {
			return h.bytes(f.value, f.valueLen), true
		}
	}
	return nil, false
}

// Add appends a field. The caller vouches that name is a token and value has no control characters (RFC 9110 §5.5).
func (h *Header) Add(name, value string) { add(h, Lookup(name), name, value) }

// AddID appends a field by its ID, in its usual spelling.
func (h *Header) AddID(id ID, value []byte) { add(h, id, names[id], value) }

// AddIDString is AddID for a string.
func (h *Header) AddIDString(id ID, value string) { add(h, id, names[id], value) }

// AddBytes is Add for byte slices; both are copied.
func (h *Header) AddBytes(name, value []byte) { add(h, Lookup(name), name, value) }

func add[N, V ~string | ~[]byte](h *Header, id ID, name N, value V) {
	at := uint32(len(h.base) + len(h.extra))
	h.extra = append(h.extra, name...)
	h.extra = append(h.extra, value...)
	h.seen |= 1 << id
	h.fields = append(h.fields, field{
		name: at, nameLen: uint16(len(name)),
		value: at + uint32(len(name)), valueLen: uint32(len(value)), id: id,
	})
}

// Set replaces every field of that name by one.
func (h *Header) Set(name, value string) {
	h.Del(name)
	h.Add(name, value)
}

// SetID replaces every field of that ID by one.
func (h *Header) SetID(id ID, value []byte) {
	h.DelID(id)
	h.AddID(id, value)
}

// Del removes every field of that name, in any case.
func (h *Header) Del(name string) {
	if h.underscored {
		h.delAlike(name)
	}
	if id := Lookup(name); id != Other {
		h.DelID(id)
		return
	}
	for i := range h.fields {
		if f := &h.fields[i]; f.id == Other && EqualFold(h.bytes(f.name, uint32(f.nameLen)), name) {
			f.removed = true
		}
	}
}

// DelBytes is Del for a byte slice.
func (h *Header) DelBytes(name []byte) { h.Del(string(name)) }

// DelID removes every field of that ID. It must not be Other.
func (h *Header) DelID(id ID) {
	if h.underscored {
		h.delAlike(names[id])
	}
	if h.seen&(1<<id) == 0 {
		return
	}
	for i := range h.fields {
		if h.fields[i].id == id {
			h.fields[i].removed = true
		}
	}
	h.seen &^= 1 << id
}

// Merge adds tokens to the list that the fields of that name hold, in any case; those that it holds already are left out.
// The list is one field then. A list with "*" holds everything.
func (h *Header) Merge(name string, tokens ...string) {
	first, more := -1, false
	for i := range h.fields {
		if f := &h.fields[i]; !f.removed && EqualFold(h.bytes(f.name, uint32(f.nameLen)), name) {
			if first < 0 {
				first = i
			} else {
				more = true
			}
		}
	}
	var room [128]byte
	list := room[:0]
	if first >= 0 {
		for i := first; i < len(h.fields); i++ {
			f := &h.fields[i]
			if f.removed || !EqualFold(h.bytes(f.name, uint32(f.nameLen)), name) {
				continue
			}
			for rest := h.bytes(f.value, f.valueLen); len(rest) > 0; {
				var item []byte
				if item, rest = NextToken(rest); len(item) > 0 {
					list = appendItem(list, item)
				}
			}
		}
	}
	held := len(list)
	for _, token := range tokens {
		if !listHolds(list, token) {
			list = appendItem(list, token)
		}
	}
	if len(list) == held && !more {
		return
	}
	h.Del(name)
	add(h, Lookup(name), name, list)
}

func appendItem[T ~string | ~[]byte](list []byte, item T) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	return append(list, item...)
}

func listHolds(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if item, list = NextToken(list); EqualFold(item, token) || string(item) == "*" {
			return true
		}
	}
	return false
}

// Token reports whether the comma-separated lists of all fields of that ID hold the token, in any case
// (RFC 9110 §5.6.1).
func (h *Header) Token(id ID, token string) bool {
	for i := h.Next(id, 0); i >= 0; i = h.index(id, i+1) {
		f := &h.fields[i]
		rest := h.bytes(f.value, f.valueLen)
		for len(rest) > 0 {
			var item []byte
			item, rest = NextToken(rest)
			if EqualFold(item, token) {
				return true
			}
		}
	}
	return false
}

// NextToken cuts the first item off a comma-separated list, without the white space around it.
func NextToken(list []byte) (item, rest []byte) {
	item = list
	if i := bytes.IndexByte(list, ','); i >= 0 {
		item, rest = list[:i], list[i+1:]
	}
	return bytes.Trim(item, " \t"), rest
}
