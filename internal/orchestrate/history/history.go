package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/orchestrate/reap"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Book is what a loop remembers of the revisions of all its workloads.
type Book struct {
	gvk     schema.GroupVersionKind
	owners  map[object.Key]object.Key
	orphans map[string]map[object.Key]bool // by namespace
	decoded map[object.Key]decoded
}

// New returns an empty Book for workloads of a kind.
func New(gvk schema.GroupVersionKind) *Book {
	return &Book{gvk, map[object.Key]object.Key{}, map[string]map[object.Key]bool{}, map[object.Key]decoded{}}
}

// decoded is the template of a revision, whose data never changes.
type decoded struct {
	uid      types.UID
	template *corev1.PodTemplateSpec
}

// Observe takes in a revision that changed. It calls mark with the key of each
// workload that had or has it, and returns it if none has.
func (b *Book) Observe(tx *store.Tx, key object.Key, mark func(object.Key)) (orphan *appsv1.ControllerRevision) {
	if was, ok := b.owners[key]; ok {
		mark(was)
		delete(b.owners, key)
	}
	delete(b.orphans[key.Namespace], key)
	r, ok := tables.ControllerRevisions.Get(tx, key)
	if !ok {
		delete(b.decoded, key)
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(r); ref != nil {
		if ref.Kind == b.gvk.Kind {
			owner := object.Key{Namespace: key.Namespace, Name: ref.Name}
			b.owners[key] = owner
			mark(owner)
		}
		return nil
	}
	if b.orphans[key.Namespace] == nil {
		b.orphans[key.Namespace] = map[object.Key]bool{}
	}
	b.orphans[key.Namespace][key] = true
	return r
}

// Subject is the workload whose history is opened.
type Subject struct {
	Object     metav1.Object // shared
	Selector   labels.Selector
	Template   *corev1.PodTemplateSpec
	Collisions *int32
	HashLabel  string // of revisions: what tells them apart
}

// History is the revisions of one workload.
type History struct {
	All        []*appsv1.ControllerRevision // oldest first
	Same       []*appsv1.ControllerRevision // those that hold the present template: more than one where somebody made copies
	Update     *appsv1.ControllerRevision   // of the present template; nil: its name was taken, and the next step tries another
	Collisions *int32
}

// Open returns the workload's history, having adopted what it selects and made
// the present template the newest revision.
func (b *Book) Open(tx *store.Tx, s Subject) History {
	h := History{All: b.claim(tx, s), Collisions: s.Collisions}
	next := int64(1)
	if n := len(h.All); n > 0 {
		next = h.All[n-1].Revision + 1
	}
	for i := len(h.All) - 1; i >= 0; i-- {
		r := h.All[i]
		if !equality.Semantic.DeepEqual(b.Template(r), s.Template) {
			continue
		}
		h.Same = append(h.Same, r)
		if h.Update != nil {
			continue
		}
		if i < len(h.All)-1 { // back to an earlier template
			r = r.DeepCopy()
			r.Revision = next
			tables.ControllerRevisions.Put(tx, r)
			h.All = append(slices.Delete(h.All, i, i+1), r)
		}
		h.Update = r
	}
	if h.Update == nil {
		b.add(tx, s, &h, next)
	}
	return h
}

// add makes a revision of the present template.
func (b *Book) add(tx *store.Tx, s Subject, h *History, number int64) {
	data := encode(s.Template)
	name, hash := nameOf(s, data, h.Collisions)
	key := object.Key{Namespace: s.Object.GetNamespace(), Name: name}
	if _, taken := tables.ControllerRevisions.Row(tx, key); taken {
		n := int32(1)
		if h.Collisions != nil {
			n += *h.Collisions
		}
		h.Collisions = &n
		return
	}
	r := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: name, Labels: maps.Clone(s.Template.Labels), Annotations: annotations(s.Object),
			OwnerReferences: []metav1.OwnerReference{object.ControllerRef(s.Object, b.gvk)},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Labels[s.HashLabel] = hash
	tables.ControllerRevisions.Put(tx, r)
	h.All, h.Update, h.Same = append(h.All, r), r, append(h.Same, r)
}

// annotations returns what kubectl rollout history reads of the workload:
// kubernetes.io/change-cause among others.
func annotations(o metav1.Object) map[string]string {
	out := maps.Clone(o.GetAnnotations())
	delete(out, corev1.LastAppliedConfigAnnotation)
	return out
}

// nameOf returns a revision's name, which must be fit for a label, and its hash.
func nameOf(s Subject, data []byte, collisions *int32) (name, hash string) {
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		fmt.Fprintf(h, " %d", *collisions)
	}
	hash = strconv.FormatUint(uint64(h.Sum32()), 36)
	const labelMax = 63
	name = s.Object.GetName()
	if n := labelMax - 1 - len(hash); len(name) > n {
		name = strings.TrimRight(name[:n], "-.")
	}
	return name + "-" + hash, hash
}

// encode returns the patch that brings the template back, as kubectl makes it:
// see "$patch" in Kubernetes' strategic merge patch.
func encode(t *corev1.PodTemplateSpec) []byte {
	raw, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("history: encoding a pod template: %v", err))
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		panic(fmt.Sprintf("history: decoding a pod template: %v", err))
	}
	tree["$patch"] = "replace"
	raw, err = json.Marshal(map[string]any{"spec": map[string]any{"template": tree}})
	if err != nil {
		panic(fmt.Sprintf("history: encoding a patch: %v", err))
	}
	return raw
}

// Template returns the template that a revision holds, shared; an empty one where
// its data holds none.
func (b *Book) Template(r *appsv1.ControllerRevision) *corev1.PodTemplateSpec {
	key := object.KeyOf(r)
	if d, ok := b.decoded[key]; ok && d.uid == r.UID {
		return d.template
	}
	var data struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &data); err != nil {
		data.Spec.Template = corev1.PodTemplateSpec{} // somebody's own: equal to no template
	}
	b.decoded[key] = decoded{r.UID, &data.Spec.Template}
	return &data.Spec.Template
}

// claim returns the workload's revisions, oldest first, having adopted the
// orphans that it selects and released what it does not.
func (b *Book) claim(tx *store.Tx, s Subject) []*appsv1.ControllerRevision {
	var mine, adopt []*appsv1.ControllerRevision
	for row := range tables.ControllerRevisions.By(tx, tables.OwnerIndex, string(s.Object.GetUID())) {
		if r := row.Object(); metav1.IsControlledBy(r, s.Object) {
			mine = append(mine, r)
		}
	}
	for key := range b.orphans[s.Object.GetNamespace()] {
		r, ok := tables.ControllerRevisions.Get(tx, key)
		if ok && r.DeletionTimestamp == nil && metav1.GetControllerOfNoCopy(r) == nil && s.Selector.Matches(labels.Set(r.Labels)) {
			next := r.DeepCopy()
			next.OwnerReferences = append(next.OwnerReferences, object.ControllerRef(s.Object, b.gvk))
			adopt = append(adopt, next)
		}
	}
	slices.SortFunc(adopt, func(a, b *appsv1.ControllerRevision) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range adopt {
		tables.ControllerRevisions.Put(tx, r)
	}
	mine = slices.DeleteFunc(append(mine, adopt...), func(r *appsv1.ControllerRevision) bool { return r.DeletionTimestamp != nil })
	slices.SortFunc(mine, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return mine
}

// Prune deletes the oldest revisions that are not live beyond the limit.
func (h *History) Prune(tx *store.Tx, live func(*appsv1.ControllerRevision) bool, limit *int32) {
	if limit == nil {
		return
	}
	var idle []*appsv1.ControllerRevision
	for _, r := range h.All {
		if r != h.Update && !live(r) {
			idle = append(idle, r)
		}
	}
	for _, r := range idle[:max(len(idle)-int(*limit), 0)] {
		reap.Delete(tx, tables.ControllerRevisions, object.KeyOf(r), metav1.DeletePropagationBackground)
	}
}

// Find returns the revision of the name, nil if there is none.
func (h *History) Find(name string) *appsv1.ControllerRevision {
	for _, r := range h.All {
		if r.Name == name {
			return r
		}
	}
	return nil
}
