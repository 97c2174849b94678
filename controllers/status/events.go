package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

const (
	// sayAgain is when the same may be told again of an object.
	sayAgain = 5 * time.Minute
	// burst and perMinute bound the Events of an object, whatever they say.
	burst     = 10
	perMinute = 1

	// action is what the proxy does with the objects that its Events are about.
	action = "Reconcile"
)

// A voice bounds the Events of one object.
type voice struct {
	said   map[saying]time.Time
	bucket flowcontrol.PassiveRateLimiter
}

type saying struct{ reason, message string }

func newVoice() voice {
	return voice{map[saying]time.Time{}, flowcontrol.NewTokenBucketPassiveRateLimiter(perMinute/60.0, burst)}
}

// may says whether something may be told now, and takes note of it.
func (v *voice) may(s saying, now time.Time) bool {
	for old, at := range v.said { // of which there are few: each took a token
		if now.Sub(at) >= sayAgain {
			delete(v.said, old)
		}
	}
	if _, told := v.said[s]; told || !v.bucket.TryAccept() {
		return false
	}
	v.said[s] = now
	return true
}

// Event tells the object's owner of something, if this replica leads. What was told in the last 5 minutes is not told again,
// and of one object not more than 10 things at once and one a minute.
func (w *Writer) Event(key types.NamespacedName, uid types.UID, eventType, reason, message string) {
	message = cut(message, maxMessage)
	w.mu.Lock()
	e := w.entries[key]
	say := w.term != nil && e != nil && e.object.UID == uid && e.voice.may(saying{reason, message}, time.Now())
	w.mu.Unlock()
	if !say {
		return
	}
	regarding := &v1alpha1.ProxyService{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: uid},
	}
	w.recorder.Eventf(regarding, nil, eventType, reason, action, "%s", message)
}

// tell tells of the transitions from one status to another.
func (w *Writer) tell(o *Object, before, after *v1alpha1.ProxyServiceStatus) {
	told := map[string]bool{}
	for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionConflicted} {
		old, c := find(before.Conditions, kind), find(after.Conditions, kind)
		if c == nil || old != nil && old.Status == c.Status && old.Reason == c.Reason || told[c.Reason] {
			continue
		}
		told[c.Reason] = true // a conflict about an address is the reason of two conditions
		good := c.Status == metav1.ConditionTrue
		if kind == v1alpha1.ConditionConflicted {
			good = !good
		}
		switch {
		case !good:
			w.Event(o.Key, o.UID, corev1.EventTypeWarning, c.Reason, c.Message)
		case kind == v1alpha1.ConditionAccepted:
			w.Event(o.Key, o.UID, corev1.EventTypeNormal, c.Reason, c.Message)
		}
	}
}
