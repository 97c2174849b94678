package exchange

import "testing"

func TestSeal(t *testing.T) {
	x := &Exchange{}
	r := &x.Request
	names := []string{"X-User", "X-Role"}
	r.Seal(nil)
	r.Seal(names)
	for _, name := range []string{"x-user", "X_Role", "X-Sum"} {
		r.Trailer.Add(name, "1")
	}
	r.SealTrailer()
	if _, ok := r.Trailer.Get("X-Sum"); !ok || r.Trailer.Len() == 0 {
		t.Error("what is not sealed is gone")
	}
	for _, name := range []string{"X-User", "x-user", "X_Role"} {
		if _, ok := r.Trailer.Get(name); ok {
			t.Errorf("%s is still there", name)
		}
	}
	x.Reset()
	r.Trailer.Add("X-User", "1")
	r.SealTrailer()
	if _, ok := r.Trailer.Get("X-User"); !ok {
		t.Error("the next request has the seals of the one before")
	}
	if n := testing.AllocsPerRun(100, func() { x.Request.Seal(names); x.Reset() }); n > 0 {
		t.Errorf("sealing allocates %v times", n)
	}
}
