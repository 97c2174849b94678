package exchange

// Names with an underscore: CGI and its heirs turn a dash into one, so that an endpoint may take X_Real_IP for X-Real-IP.
// An engine keeps such fields of a request and says so with MarkUnderscored; proxy drops them once the service is known,
// but for services that want them.

// MarkUnderscored notes that the name of a field has an underscore. Del, DelID and Set remove what an endpoint may take
// for the name from then on.
func (h *Header) MarkUnderscored() { h.underscored = true }

// Underscored reports whether the name of a field may have an underscore.
func (h *Header) Underscored() bool { return h.underscored }

// DropUnderscored removes fields with an underscore in their names: all of them, or, where keep is set, those that an
// endpoint may take for a field with a name of its own here or for one of those that SpeaksForProxies knows.
func (h *Header) DropUnderscored(keep bool) {
	if !h.underscored {
		return
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.removed || f.id != Other {
			continue
		}
		name := h.bytes(f.name, uint32(f.nameLen))
		var room [maxKnownName]byte
		if dashed, has := dash(&room, name); has && (!keep || Lookup(dashed) != Other || SpeaksForProxies(Other, dashed)) {
			f.removed = true
		}
	}
	h.underscored = keep
}

// maxKnownName is longer than any name that the proxy knows, so that a longer one is none of them whatever follows.
const maxKnownName = 32

// dash returns a name, at most its beginning, with dashes for underscores, and whether it has any.
func dash(room *[maxKnownName]byte, name []byte) (dashed []byte, has bool) {
	n := 0
	for _, c := range name {
		if c == '_' {
			c, has = '-', true
		}
		if n < len(room) {
			room[n] = c
			n++
		}
	}
	return room[:n], has
}

// delAlike removes the fields that an endpoint may take for that name.
func (h *Header) delAlike(name string) {
	for i := range h.fields {
		if f := &h.fields[i]; !f.removed && alike(h.bytes(f.name, uint32(f.nameLen)), name) {
			f.removed = true
		}
	}
}

func alike(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		d := b[i]
		if c == '_' {
			c = '-'
		}
		if d == '_' {
			d = '-'
		}
		if lower[c] != lower[d] {
			return false
		}
	}
	return true
}
