package wire

// A Window counts what a peer may still send (RFC 9113 §5.2), on a stream or on a connection. It is not safe for
// concurrent use.
type Window struct {
	size int32 // when nothing is on its way and nothing unread
	left int32 // what the peer may send
	owed int32 // read, and not announced yet
}

// Reset makes the window one of size bytes, all of them free.
func (w *Window) Reset(size int32) { *w = Window{size: size, left: size} }

// Take notes that n bytes arrived. It returns false where the peer was not allowed to send them.
func (w *Window) Take(n int) bool {
	if int64(n) > int64(w.left) {
		return false
	}
	w.left -= int32(n)
	return true
}

// Give notes that n bytes were read, and returns by how much the peer is to be told that it may send more; 0 is not worth a
// frame yet.
func (w *Window) Give(n int) uint32 {
	w.owed += int32(n)
	if w.owed < w.size/2 {
		return 0
	}
	n32 := w.owed
	w.left += n32
	w.owed = 0
	return uint32(n32)
}
