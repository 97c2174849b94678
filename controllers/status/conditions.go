package status

import (
	"cmp"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
	"github.com/pingora-proxy/pingora-proxy/controllers/translate"
)

// What the API takes in a status, as the markers of v1alpha1.ProxyServiceStatus say.
const (
	maxRoutes    = 512
	maxAddresses = 64
	maxHash      = 64
)

// Of is the status of an object whose status so far was previous. A condition's time of transition changes with its status
// only. Conditions of other types, which others put there, are kept.
//
// No replicas at all means that they are not known yet: an object that was programmed, and has not changed since, stays
// so for the moment.
func Of(o Object, replicas []Replica, previous v1alpha1.ProxyServiceStatus, now metav1.Time) v1alpha1.ProxyServiceStatus {
	said := texts{
		accepted: "it can be served as it stands", resolved: "everything that it names is there and may be used",
		free: "nothing older takes what it wants", limit: maxMessage,
	}
	accepted, resolved, conflicted := said.conditions(o.Problems, o.Holds)
	programmed, counts := o.programmedCondition(replicas, &previous, accepted.Status == metav1.ConditionTrue)
	out := v1alpha1.ProxyServiceStatus{
		ObservedGeneration: o.Generation,
		Conditions:         o.date([]metav1.Condition{accepted, resolved, programmed, conflicted}, previous.Conditions, now),
		Routes:             o.routes(previous.Routes, now),
		Endpoints:          &v1alpha1.EndpointCounts{Healthy: int32(o.Healthy), Total: int32(o.Total)}, //nolint:gosec // counts of what is in memory
		EndpointsSummary:   fmt.Sprintf("%d/%d", o.Healthy, o.Total),
		Replicas:           &counts,
		ConfigHash:         cut(o.Hash, maxHash),
		Addresses:          distinct(o.Addresses),
	}
	out.Addresses = out.Addresses[:min(len(out.Addresses), maxAddresses)]
	return out
}

// routes are the conditions of each route alone.
func (o *Object) routes(previous []v1alpha1.RouteStatus, now metav1.Time) []v1alpha1.RouteStatus {
	problems := map[string][]translate.Problem{}
	for _, p := range o.Problems {
		problems[p.Route] = append(problems[p.Route], p)
	}
	holds := map[string][]Hold{}
	for _, h := range o.Holds {
		holds[h.Route] = append(holds[h.Route], h)
	}
	before := map[string][]metav1.Condition{}
	for _, r := range previous {
		before[r.Name] = r.Conditions
	}
	names := distinct(o.Routes)
	names = names[:min(len(names), maxRoutes)]
	var out []v1alpha1.RouteStatus
	for _, name := range names {
		accepted, resolved, conflicted := texts{limit: maxRouteMessage}.conditions(problems[name], holds[name])
		out = append(out, v1alpha1.RouteStatus{
			Name:       name,
			Conditions: o.date([]metav1.Condition{accepted, resolved, conflicted}, before[name], now),
		})
	}
	return out
}

// texts are what conditions say when all is well, and how much they may say otherwise.
type texts struct {
	accepted, resolved, free string
	limit                    int
}

// conditions of an object or of one of its routes, but for Programmed.
func (t texts) conditions(problems []translate.Problem, holds []Hold) (accepted, resolved, conflicted metav1.Condition) {
	accepted = t.condition(v1alpha1.ConditionAccepted, metav1.ConditionFalse, problems, unacceptable)
	if accepted.Reason == "" {
		accepted.Status, accepted.Reason, accepted.Message = metav1.ConditionTrue, v1alpha1.ReasonAccepted, t.accepted
	}
	resolved = t.condition(v1alpha1.ConditionResolvedRefs, metav1.ConditionFalse, problems, translate.Problem.Reference)
	if resolved.Reason == "" {
		resolved.Status, resolved.Reason, resolved.Message = metav1.ConditionTrue, v1alpha1.ReasonResolvedRefs, t.resolved
	}
	conflicted = t.condition(v1alpha1.ConditionConflicted, metav1.ConditionTrue, problems, translate.Problem.Conflict)
	switch {
	case conflicted.Reason != "":
	case len(holds) > 0:
		var losers []string
		for _, h := range holds {
			losers = append(losers, h.describe())
		}
		conflicted.Status, conflicted.Reason = metav1.ConditionFalse, v1alpha1.ReasonHolds
		conflicted.Message = enumerate(losers, t.limit)
	default:
		conflicted.Status, conflicted.Reason, conflicted.Message = metav1.ConditionFalse, v1alpha1.ReasonNoConflict, t.free
	}
	return accepted, resolved, conflicted
}

// condition tells the problems that count for it; it has no reason if there are none.
func (t texts) condition(kind string, status metav1.ConditionStatus, problems []translate.Problem,
	counts func(translate.Problem) bool,
) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: status}
	var messages []string
	for _, p := range problems {
		if counts(p) {
			c.Reason = cmp.Or(c.Reason, p.Reason, v1alpha1.ReasonInvalid)
			messages = append(messages, describe(p))
		}
	}
	if len(messages) > 0 {
		c.Message = enumerate(messages, t.limit)
	}
	return c
}

// unacceptable are all problems that no other condition tells, so that none is lost.
func unacceptable(p translate.Problem) bool {
	return !p.Reference() && p.Reason != v1alpha1.ReasonRouteShadowed
}

func (o *Object) programmedCondition(replicas []Replica, previous *v1alpha1.ProxyServiceStatus, accepted bool,
) (metav1.Condition, v1alpha1.ReplicaCounts) {
	c := metav1.Condition{Type: v1alpha1.ConditionProgrammed, Status: metav1.ConditionFalse}
	serving := o.programmed(replicas)
	counts := v1alpha1.ReplicaCounts{Programmed: int32(serving), Total: int32(len(replicas))} //nolint:gosec // as above
	switch {
	case !accepted:
		c.Reason, c.Message = v1alpha1.ReasonNotAccepted, "the condition Accepted says why; nothing of it is served"
		if o.Listening {
			c.Message = "the condition Accepted says why; the rest of it is served"
		}
		return c, counts
	case len(replicas) == 0:
		old := find(previous.Conditions, v1alpha1.ConditionProgrammed)
		if old != nil && old.Status == metav1.ConditionTrue && old.ObservedGeneration == o.Generation &&
			previous.ConfigHash == o.Hash && previous.Replicas != nil {
			return metav1.Condition{Type: c.Type, Status: old.Status, Reason: old.Reason, Message: old.Message}, *previous.Replicas
		}
		c.Reason, c.Message = v1alpha1.ReasonPending, "no replica is ready"
		return c, counts
	}
	c.Reason = v1alpha1.ReasonPending
	if serving == len(replicas) {
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonProgrammed
	}
	c.Message = fmt.Sprintf("%d of %d replicas serve hash %s", serving, len(replicas), cut(o.Hash, maxHash))
	return c, counts
}

// date adds the generation and the times to conditions, and what others put there before.
func (o *Object) date(conditions, previous []metav1.Condition, now metav1.Time) []metav1.Condition {
	for i := range conditions {
		c := &conditions[i]
		c.ObservedGeneration, c.LastTransitionTime = o.Generation, now
		if old := find(previous, c.Type); old != nil && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	for _, c := range previous {
		if !ours(c.Type) {
			conditions = append(conditions, c)
		}
	}
	return conditions
}

func find(conditions []metav1.Condition, kind string) *metav1.Condition {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &conditions[i]
}

// ours says whether this package makes the conditions of a type.
func ours(kind string) bool {
	switch kind {
	case v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionProgrammed, v1alpha1.ConditionConflicted:
		return true
	default:
		return false
	}
}
