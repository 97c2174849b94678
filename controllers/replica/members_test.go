package replica

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func lease(name, version string, renewed int, lasts int32) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, ResourceVersion: strconv.Itoa(renewed),
			Annotations: map[string]string{VersionAnnotation: version, ReadyAnnotation: "true"},
		},
		// A time long ago: clocks differ, and are not asked.
		Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &lasts, RenewTime: &metav1.MicroTime{}},
	}
}

func wantNow(t *testing.T, m *Members, changed bool, names ...string) {
	t.Helper()
	synctest.Wait()
	var got []string
	for _, member := range m.List() {
		got = append(got, member.Name)
	}
	if !slices.Equal(got, names) {
		t.Errorf("alive are %q, want %q", got, names)
	}
	select {
	case <-m.Changed():
		if !changed {
			t.Error("told of a change, where there is none")
		}
	default:
		if changed {
			t.Error("told of no change")
		}
	}
}

func TestMembersExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(t, configOn(newServer()))
		m.see(true, lease("b", "5", 1, 15), lease("a", "5", 1, 15))
		wantNow(t, m, true, "a", "b")
		for n := range 3 {
			pass(5 * time.Second)
			m.see(false, lease("a", "5", 2+n, 15))
			if n < 2 {
				wantNow(t, m, false, "a", "b")
			}
		}
		wantNow(t, m, true, "a")
		m.see(false, lease("b", "5", 2, 15)) // it is back
		wantNow(t, m, true, "a", "b")

		// Listing them anew is no sign of life.
		pass(8 * time.Second)
		m.see(true, lease("a", "5", 9, 15), lease("b", "5", 2, 15))
		pass(8 * time.Second)
		wantNow(t, m, true, "a")
		m.see(true, lease("b", "5", 3, 15))
		wantNow(t, m, true, "b")
		m.forget("b")
		wantNow(t, m, true)
	})
}

func TestMembersWakeWhenOneExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(t, configOn(newServer()))
		m.see(false, lease("a", "5", 1, 3))
		m.see(false, lease("b", "5", 1, 7))
		wantNow(t, m, true, "a", "b")
		began := time.Now()
		<-m.Changed()
		if at := time.Since(began); at != 3*time.Second {
			t.Errorf("woken after %v, want 3 s", at)
		}
		wantNow(t, m, false, "b")
		<-m.Changed()
		wantNow(t, m, false)
	})
}

// TestMembersAfterSilence: this process saw nobody, not even itself, so that nobody's silence counts.
func TestMembersAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(t, configOn(newServer()))
		m.see(true, lease("a", "5", 1, 15), lease("b", "5", 1, 15))
		wantNow(t, m, true, "a", "b")
		pass(2 * time.Minute)
		wantNow(t, m, true)
		m.see(false, lease("a", "5", 2, 15))
		wantNow(t, m, true, "a", "b")
		for n := range 3 {
			pass(5 * time.Second)
			m.see(false, lease("a", "5", 3+n, 15))
		}
		wantNow(t, m, true, "a") // b did not come back
	})
}

func TestMembersReadWhatIsThere(t *testing.T) {
	m := newMembers(t, configOn(newServer()))
	broken := lease("broken", "twelve", 1, -1)
	bare := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}
	m.see(true, lease("a", "18446744073709551615", 1, 15), broken, bare)
	defer m.expiry.Stop()
	want := []Member{{Name: "a", ResourceVersion: 1<<64 - 1, Ready: true}, {Name: "bare", ResourceVersion: 0, Ready: false}, {Name: "broken", ResourceVersion: 0, Ready: true}}
	if got := m.List(); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}
