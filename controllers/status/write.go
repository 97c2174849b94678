package status

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

// fieldManager owns what is applied. It is the same in all versions and replicas, which take the status over from each other.
const fieldManager = "pingora-proxy-status"

// work compares one object with its facts, and writes its status if that is due.
func (w *Writer) work(ctx context.Context, queue workqueue.TypedRateLimitingInterface[types.NamespacedName], key types.NamespacedName) {
	w.mu.Lock()
	e, term, replicas := w.entries[key], w.term, w.replicas
	var o Object
	if e != nil {
		o = e.object
	}
	w.mu.Unlock()
	if e == nil || term == nil || ctx.Err() != nil {
		return
	}
	began := time.Now()
	if d := w.gate.wait(began); d > 0 {
		queue.AddAfter(key, d)
		return
	}
	limited, cancel := context.WithTimeout(ctx, w.timing.write)
	defer cancel()
	defer context.AfterFunc(term, cancel)()

	again, err := w.update(limited, e, &o, replicas)
	log := w.log.WithValues("object", key.String())
	switch {
	case err == nil:
		queue.Forget(key)
		queue.AddAfter(key, again)
	case term.Err() != nil || ctx.Err() != nil:
		// The next leader writes.
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		log.V(1).Info("The object is not as it was seen", "error", err.Error())
		queue.AddRateLimited(key) // until it is seen as it is, or Set takes it out
	case tooLarge(err) && w.shorten(e):
		log.Info("The status leaves out the routes: with them the object is larger than the API server stores")
		queue.Add(key)
	case aboutObject(err):
		log.Error(err, "The API server refuses a status; it is tried again later")
		queue.AddRateLimited(key)
	default:
		now := time.Now()
		if w.gate.failed(began, now) {
			log.Info("A status could not be written; it is tried again", "error", err.Error(), "after", w.gate.wait(now).String())
		}
		queue.AddAfter(key, w.gate.wait(now))
	}
}

// update writes what the object's owner should know, if that is due, and says when to look again.
func (w *Writer) update(ctx context.Context, e *entry, o *Object, replicas []Replica) (again time.Duration, err error) {
	var read v1alpha1.ProxyService
	if err := w.client.Get(ctx, o.Key, &read); err != nil {
		return 0, err
	}
	if read.UID != o.UID {
		return 0, apierrors.NewNotFound(schema.GroupResource{Group: v1alpha1.GroupVersion().Group, Resource: "proxyservices"}, o.Key.Name)
	}
	now := time.Now()
	w.mu.Lock()
	latest := e.latest(&read)
	current := latest.Status
	desired := Of(*o, replicas, current, metav1.NewTime(now))
	if e.terse {
		desired.Routes = nil
	}
	again = e.due(o, &current, &desired, now, w.timing)
	if current.ObservedGeneration > o.Generation && current.ObservedGeneration <= read.Generation {
		again = w.timing.heal // somebody knows more already; the facts will come
	}
	w.mu.Unlock()
	if again > 0 {
		return again, nil
	}

	reply, err := w.apply(ctx, latest, desired)
	if err != nil {
		return 0, err
	}
	w.gate.succeeded()
	w.mu.Lock()
	e.said, e.saidAt, e.wrote, e.reply, e.pending = &desired, now, now, reply, time.Time{}
	w.mu.Unlock()
	w.tell(o, &current, &desired)
	return w.timing.heal, nil
}

// apply writes the status of an object as it was seen last. What is applied is this writer's, and replaces what it applied
// before; conditions of others are not part of it and stay. The API server refuses it if the object is another version by
// now: what a leader of old times is still about to say does not count, nor what was meant for another object of that name.
func (w *Writer) apply(ctx context.Context, seen *v1alpha1.ProxyService, s v1alpha1.ProxyServiceStatus) (*v1alpha1.ProxyService, error) {
	object := &v1alpha1.ProxyService{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: seen.Namespace, Name: seen.Name, UID: seen.UID, ResourceVersion: seen.ResourceVersion,
		},
		Status: own(s),
	}
	patch, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("status of %s/%s: %w", seen.Namespace, seen.Name, err)
	}
	err = w.client.Status().Patch(ctx, object, client.RawPatch(types.ApplyPatchType, patch),
		client.FieldOwner(fieldManager), client.ForceOwnership)
	if err != nil {
		return nil, err
	}
	return &v1alpha1.ProxyService{ // without the spec, which may be large: this is kept for a while
		ObjectMeta: metav1.ObjectMeta{
			Namespace: object.Namespace, Name: object.Name, UID: object.UID, ResourceVersion: object.ResourceVersion,
		},
		Status: object.Status,
	}, nil
}

// latest is the object as it was read, or as the last write left it if that is newer.
func (e *entry) latest(read *v1alpha1.ProxyService) *v1alpha1.ProxyService {
	if e.reply == nil {
		return read
	}
	order, err := resourceversion.CompareResourceVersion(read.ResourceVersion, e.reply.ResourceVersion)
	if err == nil && order < 0 {
		return e.reply
	}
	e.reply = nil
	return read
}

// due is in how long the desired status has to be written, or, if there is nothing to write, to be looked at again.
func (e *entry) due(o *Object, current, desired *v1alpha1.ProxyServiceStatus, now time.Time, t timing) time.Duration {
	base := e.said
	if base == nil {
		base = current
	}
	difference := compare(base, desired)
	if compare(current, desired) == same {
		if difference != same || e.said == nil {
			e.said, e.saidAt = desired, now
		}
		e.pending = time.Time{}
		return t.heal
	}
	at := now
	switch difference {
	case same:
		at = e.saidAt.Add(t.heal)
	case counted:
		at = e.wrote.Add(t.counts)
	case changed:
	}
	if !waits(desired, o.Generation) || waits(base, o.Generation) {
		e.pending = time.Time{}
	} else if e.pending.IsZero() {
		e.pending = now
	}
	if settled := e.pending.Add(t.settle); !e.pending.IsZero() && settled.After(at) {
		at = settled
	}
	return at.Sub(now)
}

// waits says whether a status tells that replicas have yet to serve the generation.
func waits(s *v1alpha1.ProxyServiceStatus, generation int64) bool {
	c := find(s.Conditions, v1alpha1.ConditionProgrammed)
	return c != nil && c.Reason == v1alpha1.ReasonPending && c.ObservedGeneration == generation
}

// shorten leaves the routes out from now on, and says whether they were in it so far.
func (w *Writer) shorten(e *entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := e.terse
	e.terse = true
	return !was
}

// aboutObject says whether the API server refused this status, and may take others.
func aboutObject(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) || tooLarge(err)
}

// tooLarge says whether the object would be too large for the API server, for the connection to etcd, or for etcd.
func tooLarge(err error) bool {
	return apierrors.IsRequestEntityTooLargeError(err) || strings.Contains(err.Error(), "message larger than max") ||
		strings.Contains(err.Error(), "request is too large")
}
