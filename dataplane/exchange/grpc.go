package exchange

// IsGRPC reports whether a message with that header is one of gRPC: application/grpc, with a format or parameters behind it
// or without. gRPC-Web, which travels as plain HTTP, is not.
func IsGRPC(h *Header) bool {
	const media = "application/grpc"
	v := h.Value(ContentType)
	if len(v) < len(media) || !EqualFold(v[:len(media)], media) {
		return false
	}
	return len(v) == len(media) || v[len(media)] == '+' || v[len(media)] == ';' || v[len(media)] == ' '
}
