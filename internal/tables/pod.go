package tables

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/object/claim"
	"trireme/internal/store"
)

// Indexes of Pods, beside OwnerIndex.
const (
	// PodsByNode finds pods by spec.nodeName; the empty value finds the pods
	// that wait for a node (not bound, not ended).
	PodsByNode = "node"
	// PodsDeleting finds, under "true", the pods with a deletion timestamp.
	PodsDeleting = "deleting"
	// PodsByClaim finds pods by the key of a volume claim that they name.
	PodsByClaim = "claim"
	// PodsEphemeral finds, under "true", the pods with volumes whose claims are made
	// for them alone.
	PodsEphemeral = "ephemeral"
	// PodsUnderReview finds, under "true", the pods that admission has yet to see.
	PodsUnderReview = "review"
)

// deletionCost is the annotation that ranks pods for deletion (Kubernetes,
// "ReplicaSet", pod deletion cost).
const deletionCost = "controller.kubernetes.io/pod-deletion-cost"

// PodHead is what loops look at without decoding the pod. A pod under review has no
// node yet, whatever it asks for, and waits for none.
type PodHead struct {
	UID        types.UID
	Owner      types.UID // of the controller; empty: none
	Labels     map[string]string
	Node       string
	Phase      corev1.PodPhase
	Ready      bool
	ReadySince time.Time
	Deleting   bool
	IP         string
	OtherIP    string // its address of the second family; empty: none
	Created    time.Time
	// DeletionCost is what the annotation of that name says: among equal pods the
	// cheapest are deleted first.
	DeletionCost int32
	Priority     int32         // spec.priority; 0 where it is not set
	Demand       object.Demand // of its node
	HostPorts    bool          // it binds ports of its node
	HostNetwork  bool          // it lives in its node's network
	Waits        bool          // the scheduler should find it a node
	JobTracked   bool          // its Job has yet to count it: it has the finalizer batch.kubernetes.io/job-tracking
	Restarts     int32         // of all its containers
	Ephemeral    int32         // ephemeral containers, which may be added
	EndedAt      time.Time     // when its last container ended; zero: it has not, or nobody knows
	About        bool          // it asks for pods around it, or against them
	UnderReview  bool          // admission has yet to see it
	Group        string        // the PodGroup that it is placed with; empty: none
	alike        *labelSet     // keeps Labels the one set of all rows that have the same
}

// Ended reports whether the pod's containers will not run again.
func (h *PodHead) Ended() bool { return h.Phase == corev1.PodSucceeded || h.Phase == corev1.PodFailed }

// Pods holds the pods: everything that runs, whichever door it came by.
var Pods = store.NewTable(store.Spec[*corev1.Pod, *PodHead]{
	ID:         "pods",
	GVK:        corev1.SchemeGroupVersion.WithKind("Pod"),
	Prefix:     "/registry/pods/",
	Namespaced: true,
	Cold:       true,
	New:        func() *corev1.Pod { return &corev1.Pod{} },
	Head:       podHead,
	Alike:      specOf,
	Indexes: map[string]func(*corev1.Pod) []string{
		OwnerIndex: owners[*corev1.Pod],
		PodsByNode: func(p *corev1.Pod) []string {
			if object.UnderReview(p) {
				return nil
			}
			ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			if p.Spec.NodeName == "" && ended {
				return nil
			}
			return []string{p.Spec.NodeName}
		},
		PodsDeleting: func(p *corev1.Pod) []string {
			if p.DeletionTimestamp == nil {
				return nil
			}
			return []string{"true"}
		},
		PodsByClaim: func(p *corev1.Pod) (keys []string) {
			for _, key := range claim.OfPod(p) {
				keys = append(keys, key.String())
			}
			return keys
		},
		PodsUnderReview: func(p *corev1.Pod) []string {
			if !object.UnderReview(p) {
				return nil
			}
			return []string{"true"}
		},
		PodsEphemeral: func(p *corev1.Pod) []string {
			if object.UnderReview(p) || !slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Ephemeral != nil }) {
				return nil
			}
			return []string{"true"}
		},
	},
})

// Hidden reports whether doors must not show the row: its object is under review.
func Hidden(row store.Row[store.Object, any]) bool {
	switch h := row.Head().(type) {
	case *PodHead:
		return h.UnderReview
	case nil: // read back from the log's history
		return object.UnderReview(row.Object())
	}
	return false
}

// IPs returns the pod's addresses, at most one a family; none: it has none yet.
func (h *PodHead) IPs() []string {
	switch {
	case h.IP == "":
		return nil
	case h.OtherIP == "":
		return []string{h.IP}
	}
	return []string{h.IP, h.OtherIP}
}

func otherIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) < 2 {
		return ""
	}
	return p.Status.PodIPs[1].IP
}

func podHead(p *corev1.Pod) *PodHead {
	h := &PodHead{
		UID: p.UID, Node: p.Spec.NodeName, Phase: p.Status.Phase,
		Deleting: p.DeletionTimestamp != nil, IP: p.Status.PodIP, OtherIP: otherIP(p), Created: p.CreationTimestamp.Time,
		Demand: object.DemandOf(p), HostNetwork: p.Spec.HostNetwork, HostPorts: len(object.HostPorts(p)) > 0, Ephemeral: int32(len(p.Spec.EphemeralContainers)),
	}
	h.About = object.AsksOfPods(p)
	h.alike = alikeLabels(p.Labels)
	h.Labels = h.alike.labels
	h.Priority = object.PodPriority(p)
	if h.UnderReview = object.UnderReview(p); h.UnderReview {
		h.Node = ""
	}
	h.Waits = h.Node == "" && !h.UnderReview && !h.Deleting && !h.Ended()
	h.Group = object.PodGroup(p)
	h.JobTracked = slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer)
	h.Restarts, h.EndedAt = ran(p)
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		h.Owner = ref.UID
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			h.Ready, h.ReadySince = true, c.LastTransitionTime.Time
		}
	}
	if c, err := strconv.ParseInt(p.Annotations[deletionCost], 10, 32); err == nil {
		h.DeletionCost = int32(c)
	}
	return h
}

// ran returns how often the pod's containers were started again, and when the last
// of them ended if the pod has.
func ran(p *corev1.Pod) (restarts int32, ended time.Time) {
	over := object.PodEnded(p)
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			restarts += list[i].RestartCount
			if t := list[i].State.Terminated; over && t != nil && t.FinishedAt.After(ended) {
				ended = t.FinishedAt.Time
			}
		}
	}
	return restarts, ended
}

// specOf returns where in an encoded pod the part of its spec is that the replicas
// of one template have in common: all fields before the node's name.
func specOf(encoded []byte) (from, to int) {
	const (
		raw      protowire.Number = 2  // runtime.Unknown.raw
		spec     protowire.Number = 2  // Pod.spec
		nodeName protowire.Number = 10 // PodSpec.nodeName
	)
	magic := len("k8s\x00")
	if len(encoded) < magic || encoded[0] != 'k' {
		return 0, 0 // JSON
	}
	from, to = within(encoded, magic, len(encoded), raw)
	from, to = within(encoded, from, to, spec)
	for at := from; at < to; {
		number, kind, n := protowire.ConsumeTag(encoded[at:to])
		if n < 0 || number >= nodeName {
			return from, at
		}
		size := protowire.ConsumeFieldValue(number, kind, encoded[at+n:to])
		if size < 0 {
			return 0, 0
		}
		at += n + size
	}
	return from, to
}

// within returns where the value of a field with a length is in the message
// b[from:to], nothing where it is not there.
func within(b []byte, from, to int, want protowire.Number) (start, end int) {
	for from < to {
		number, kind, n := protowire.ConsumeTag(b[from:to])
		if n < 0 {
			return 0, 0
		}
		from += n
		size := protowire.ConsumeFieldValue(number, kind, b[from:to])
		if size < 0 {
			return 0, 0
		}
		if number == want && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b[from:to])
			return from + size - len(value), from + size
		}
		from += size
	}
	return 0, 0
}
