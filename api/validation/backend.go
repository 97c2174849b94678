package validation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pingora-proxy/pingora-proxy/api/syntax"
	"github.com/pingora-proxy/pingora-proxy/api/v1alpha1"
)

func checkBackends(path *field.Path, list []v1alpha1.Backend, plain bool, seen map[string]bool, from v1alpha1.Origin) field.ErrorList {
	var errs field.ErrorList
	primary, weight := plain, plain
	for i, b := range list {
		at := path.Index(i)
		switch {
		case (b.Service != nil) == (b.Address != "") && from == v1alpha1.FromCluster:
			errs = append(errs, invalid(at, "", "exactly one of `service` or `address` must be set"))
		case b.Service != nil && from == v1alpha1.FromFile:
			errs = append(errs, field.Forbidden(at.Child("service"), "is only allowed in a custom resource; set `address`"))
		case b.Service != nil:
			errs = append(errs, checkBackendService(b.Service, at.Child("service"), seen)...)
		case b.Address == "":
			errs = append(errs, field.Required(at.Child("address"), "must be set"))
		default:
			errs = append(errs, checkAddress(at.Child("address"), b.Address, "backend", seen)...)
		}
		errs = append(errs, checkOverride(at.Child("override"), b.Override)...)
		primary = primary || b.Role == nil || *b.Role != v1alpha1.RoleBackup
		weight = weight || b.Weight == nil || *b.Weight != 0
	}
	if len(list) > 0 && !primary {
		errs = append(errs, invalid(path, "", "at least one backend must be `Primary`"))
	}
	if len(list) > 0 && !weight {
		errs = append(errs, invalid(path, "", "at least one backend must have a weight greater than or equal to 1"))
	}
	return errs
}

func checkBackendService(s *v1alpha1.BackendService, path *field.Path, seen map[string]bool) field.ErrorList {
	var errs field.ErrorList
	if s.Name != "" && !syntax.ValidDNSName(s.Name) {
		errs = append(errs, invalid(path.Child("name"), s.Name, "must be the name of a Service"))
	}
	if n := s.Namespace; n != nil && *n != "" && !syntax.ValidDNSName(*n) {
		errs = append(errs, invalid(path.Child("namespace"), *n, "must be the name of a namespace"))
	}
	const wrong = "port must be between 1 and 65535, or the name of a port"
	switch p := s.Port; {
	case p.Type == intstr.Int && (p.IntVal < 1 || p.IntVal > 65535),
		p.Type == intstr.String && (p.StrVal == "" || len(p.StrVal) > 63):
		errs = append(errs, invalid(path.Child("port"), p.String(), wrong))
	}
	key := fmt.Sprintf("%s/%s:%s", deref(s.Namespace), s.Name, s.Port.String())
	if seen[key] {
		errs = append(errs, duplicate(path, "backend", key))
	}
	seen[key] = true
	return errs
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
