package agent

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/agent/assigned"
	"trireme/internal/kind"
	"trireme/internal/object"
	"trireme/internal/runtime"
)

// given is the addresses that CNI plugins gave pods.
type given struct {
	mu sync.Mutex

	of map[types.UID][]corev1.PodIP
}

func (g *given) get(uid types.UID) []corev1.PodIP {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[uid]
}

func (g *given) set(uid types.UID, ips []corev1.PodIP) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of[uid] = ips; ips == nil {
		delete(g.of, uid)
	}
}

// recallAddresses asks what CNI plugins gave to the sandboxes that there are, oldest first.
// It is known before the network hears of their pods: their rules stay.
func (a *Agent) recallAddresses(ctx context.Context, sandboxes []runtime.Sandbox) error {
	if a.cfg.Plugins == nil {
		return nil
	}
	for _, s := range sandboxes {
		if !s.Ready {
			continue
		}
		if err := a.learnAddresses(ctx, s.UID, s.ID); err != nil && !kind.Is(err, kind.NotFound) {
			return err
		}
	}
	return nil
}

func (a *Agent) learnAddresses(ctx context.Context, uid types.UID, sandbox string) error {
	addrs, err := a.cfg.Runtime.Addresses(ctx, sandbox)
	if err != nil || len(addrs) == 0 {
		return err
	}
	var ips []corev1.PodIP
	for _, addr := range addrs {
		ips = append(ips, corev1.PodIP{IP: addr.String()})
	}
	a.given.set(uid, ips)
	return nil
}

// attached takes over what CNI plugins gave a new sandbox, and has the network make the
// rules for it: no container starts before. Where managers choose addresses there is
// nothing to do.
func (a *Agent) attached(ctx context.Context, cfg *runtime.SandboxConfig, sandbox string) error {
	if a.cfg.Plugins == nil || cfg.HostNetwork {
		return nil
	}
	if err := a.learnAddresses(ctx, cfg.UID, sandbox); err != nil {
		return err
	}
	a.assigning.Lock() // nobody tells the network of another version of the pod meanwhile
	defer a.assigning.Unlock()
	pod, ok := assigned.Get[*corev1.Pod](a.objects, "pods", object.Key{Namespace: cfg.Namespace, Name: cfg.Name})
	if !ok || pod.UID != cfg.UID {
		return nil // it goes
	}
	a.network(ctx, false, []assigned.Change{{Table: "pods", Object: pod}})
	return a.networkError()
}

// addressed returns the pod with the addresses that CNI plugins gave it, where they did.
func (a *Agent) addressed(pod *corev1.Pod) *corev1.Pod {
	ips := a.given.get(pod.UID)
	if len(ips) == 0 || pod.Spec.HostNetwork {
		return pod
	}
	next := *pod
	next.Status.PodIP, next.Status.PodIPs = ips[0].IP, ips
	return &next
}

// withAddresses does so for an object that is a pod.
func (a *Agent) withAddresses(o metav1.Object) metav1.Object {
	if pod, ok := o.(*corev1.Pod); ok {
		return a.addressed(pod)
	}
	return o
}
