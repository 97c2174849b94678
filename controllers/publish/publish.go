package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
)

// FieldManager is the usual owner of the ports that a Publisher writes.
const FieldManager = "pingora-proxy-ports"

// A Publisher keeps the ports of one Service. Its methods need the rights get and patch on that Service.
type Publisher struct {
	Client       corev1client.ServicesGetter
	Service      types.NamespacedName
	FieldManager string // empty: FieldManager
}

// Publish makes the ports of the Service that belong to this Publisher equal to ports: name p-<port>, protocol TCP, and the port as its
// own target. It reads the Service first and writes only what differs. An error says which ports are not published; the
// others are. It is for the caller to try again.
//
// A port that somebody else listed is left as it is, and given up if it was this Publisher's too. What somebody
// changed in a port of this Publisher's is changed back, but for what it does not set: a node port stays.
//
// A Service needs a port: when ports is empty and nobody else listed any, the lowest one that was published stays.
func (p *Publisher) Publish(ctx context.Context, ports []uint16) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return p.publish(ctx, ports) })
	if err != nil {
		return fmt.Errorf("publishing the ports of the proxy at Service %s: %w", p.Service, err)
	}
	return nil
}

func (p *Publisher) publish(ctx context.Context, ports []uint16) error {
	live, err := p.read(ctx)
	if err != nil {
		return err
	}
	if live.Spec.Type == corev1.ServiceTypeExternalName {
		return errors.New("it has the type ExternalName and no ports; use ClusterIP, NodePort or LoadBalancer")
	}
	listed, err := p.listed(live)
	if err != nil {
		return err
	}
	wanted, problem := choose(live, listed, ports)
	if same(live, listed, wanted) {
		return problem
	}
	spec := corev1ac.ServiceSpec()
	for _, port := range wanted {
		spec.WithPorts(corev1ac.ServicePort().
			WithName(portName(port)).WithProtocol(corev1.ProtocolTCP).WithPort(port).WithTargetPort(intstr.FromInt32(port)))
	}
	// With the version that was read, because it was judged by that what is whose.
	service := corev1ac.Service(p.Service.Name, p.Service.Namespace).
		WithUID(live.UID).WithResourceVersion(live.ResourceVersion).WithSpec(spec)
	_, err = p.Client.Services(p.Service.Namespace).Apply(ctx, service, metav1.ApplyOptions{FieldManager: p.manager(), Force: true})
	return errors.Join(err, problem)
}

func (p *Publisher) read(ctx context.Context) (*corev1.Service, error) {
	live, err := p.Client.Services(p.Service.Namespace).Get(ctx, p.Service.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no such Service; create it, or correct --publish-service: %w", err)
	}
	return live, err
}

func (p *Publisher) manager() string { return cmp.Or(p.FieldManager, FieldManager) }

// choose returns which ports to write: those of ports, ordered, that nobody else has.
func choose(live *corev1.Service, listed ownership, ports []uint16) (wanted []int32, problem error) {
	foreign := map[int32]bool{}
	names := map[string]int32{}
	for _, e := range live.Spec.Ports {
		if listed.byOthers(e) {
			names[e.Name] = e.Port
			if protocol(e) == corev1.ProtocolTCP {
				foreign[e.Port] = true
			}
		}
	}
	var problems []error
	for _, port := range ports {
		port := int32(port)
		if port == 0 || foreign[port] {
			continue
		}
		if holder, taken := names[portName(port)]; taken {
			problems = append(problems, fmt.Errorf("port %d: its name %s is that of port %d, which somebody else listed; rename that one",
				port, portName(port), holder))
			continue
		}
		wanted = append(wanted, port)
	}
	if holder, unnamed := names[""]; unnamed && len(wanted) > 0 {
		return nil, fmt.Errorf("port %d, which somebody else listed, has no name, and a Service with several ports needs their names; name it",
			holder)
	}
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	if len(wanted) == 0 && len(names) == 0 {
		for _, e := range live.Spec.Ports {
			if len(wanted) == 0 || e.Port < wanted[0] {
				wanted = []int32{e.Port}
			}
		}
	}
	return wanted, errors.Join(problems...)
}

// same reports whether the Publisher lists just the wanted ports already, as it would write them.
func same(live *corev1.Service, listed ownership, wanted []int32) bool {
	if len(listed.ours) != len(wanted) {
		return false
	}
	for _, port := range wanted {
		i := slices.IndexFunc(live.Spec.Ports, func(e corev1.ServicePort) bool {
			return e.Port == port && protocol(e) == corev1.ProtocolTCP
		})
		if i < 0 || !listed.ours[key{port, corev1.ProtocolTCP}] {
			return false
		}
		if e := live.Spec.Ports[i]; e.Name != portName(port) || e.TargetPort != intstr.FromInt32(port) {
			return false
		}
	}
	return true
}

func portName(port int32) string { return "p-" + strconv.Itoa(int(port)) }

func protocol(e corev1.ServicePort) corev1.Protocol { return cmp.Or(e.Protocol, corev1.ProtocolTCP) }
