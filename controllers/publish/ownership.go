package publish

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A key is what tells the ports of a Service apart.
type key struct {
	Port     int32           `json:"port"`
	Protocol corev1.Protocol `json:"protocol"`
}

// ownership says who listed which ports of a Service: whoever put the entry there, not who only changed a field of it.
type ownership struct{ ours, others map[key]bool }

// byOthers reports whether anybody else listed the port. What nobody owns is somebody else's as well: an object that is older
// than its ownership records has such ports.
func (o ownership) byOthers(e corev1.ServicePort) bool {
	k := key{e.Port, protocol(e)}
	return o.others[k] || !o.ours[k]
}

// listed reads the owners of the ports from the Service's managed fields.
func (p *Publisher) listed(s *corev1.Service) (ownership, error) {
	o := ownership{ours: map[key]bool{}, others: map[key]bool{}}
	for _, m := range s.ManagedFields {
		if m.Subresource != "" || m.FieldsV1 == nil {
			continue
		}
		set := o.others
		if m.Manager == p.manager() && m.Operation == metav1.ManagedFieldsOperationApply {
			set = o.ours
		}
		// The form is described at metav1.FieldsV1: "k:" and the keys of a list's item, "." where the item itself is owned.
		var fields struct {
			Spec struct {
				Ports map[string]map[string]json.RawMessage `json:"f:ports"`
			} `json:"f:spec"`
		}
		if err := json.Unmarshal(m.FieldsV1.GetRawBytes(), &fields); err != nil {
			return o, fmt.Errorf("reading which fields %q owns: %w", m.Manager, err)
		}
		for item, owned := range fields.Spec.Ports {
			keys, isItem := strings.CutPrefix(item, "k:")
			if _, whole := owned["."]; !isItem || !whole {
				continue
			}
			var k key
			if err := json.Unmarshal([]byte(keys), &k); err != nil {
				return o, fmt.Errorf("reading which ports %q owns: %w", m.Manager, err)
			}
			set[k] = true
		}
	}
	return o, nil
}
