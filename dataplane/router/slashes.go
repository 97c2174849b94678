package router

// KeepsSlashes reports whether several slashes in a row stay in the path of a request for that host: every service under
// every host that may take the request wants that. Where they disagree slashes are merged, because a route that guards
// /admin must not be passed by as //admin.
func (t *Table) KeepsSlashes(slot int, authority []byte) bool {
	if slot < 0 || slot >= len(t.listeners) || t.listeners[slot] == nil || !t.listeners[slot].keepsSlashes {
		return false
	}
	l := t.listeners[slot]
	var buf [hostBuffer]byte
	name := canonicalHost(&buf, authority)
	found := false
	if h := l.exact[string(name)]; h != nil {
		if h.merges {
			return false
		}
		found = true
	}
	for i := 1; i < len(name); i++ {
		if name[i] != '.' || !l.lengths.has(len(name)-i-1) {
			continue
		}
		if h := l.wildcard[string(name[i+1:])]; h != nil {
			if h.merges {
				return false
			}
			found = true
		}
	}
	if l.any != nil {
		return !l.any.merges
	}
	return found
}
