package claims

import "testing"

// Requests whose hashes are the same are not taken for one another.
func TestSameHash(t *testing.T) {
	r := NewRequests(0, nil)
	one, two := &Claim{Field: "one", request: request{host: "a"}, hash: 1}, &Claim{Field: "two", request: request{host: "b"}, hash: 1}
	r.enter(one)
	if c := r.find(two); c != nil {
		t.Errorf("%s has it", c.Field)
	}
	if !r.Retake([]*Claim{two}, 7) || two.Service != 7 {
		t.Error("it is not free")
	}
	if r.find(one) != one || r.find(two) != two || r.Retake([]*Claim{two}, 0) {
		t.Error("they are mistaken for one another")
	}
}
