package exchange

import "testing"

func TestIsGRPC(t *testing.T) {
	for value, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/GRPC": true, "application/grpc; charset=x": true,
		"application/grpc-web": false, "application/grpc-web+proto": false, "application/grp": false, "text/plain": false, "": false,
	} {
		var h Header
		h.AddIDString(ContentType, value)
		if IsGRPC(&h) != want {
			t.Errorf("%q: %t", value, !want)
		}
	}
	if IsGRPC(&Header{}) {
		t.Error("without a type")
	}
}
