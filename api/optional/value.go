package optional

// Value is what p points to, or the zero value where it points to nothing.
func Value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
