package static

import (
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/wire"
)

// Set is the static pods of a node.
type Set struct {
	dir, node string

	mu      sync.Mutex
	seen    string // the directory's fingerprint as last read
	read    bool
	pods    map[object.Key]*corev1.Pod   // as their files say
	mirrors map[object.Key]types.UID     // the rows that stand for them
	last    map[types.UID]wire.PodReport // the newest, by the pod's own UID
}

// New returns the pods of the directory's manifests; an empty dir has none.
func New(dir, node string) *Set {
	return &Set{
		dir: dir, node: node, pods: map[object.Key]*corev1.Pod{}, mirrors: map[object.Key]types.UID{}, last: map[types.UID]wire.PodReport{},
	}
}

// Scan reads the directory if it changed, and returns what is to be assigned for
// that. changed: Mirrors has another answer. An error says what is wrong with files:
// the others' pods are there, and pods of files that broke go.
func (s *Set) Scan() (items []wire.Item, changed bool, err error) {
	if s.dir == "" {
		return nil, false, nil
	}
	now := fingerprint(s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read && now == s.seen {
		return nil, false, nil
	}
	s.seen, s.read = now, true
	pods, err := read(s.dir, s.node)
	if pods == nil {
		return nil, false, err // the directory cannot be read: what runs, runs on
	}
	for key, p := range s.pods {
		if next := pods[key]; next == nil || next.UID != p.UID {
			delete(s.mirrors, key)
			delete(s.last, p.UID)
			changed = true
			if next == nil {
				items = append(items, wire.Item{Table: "pods", Key: key, Deleted: true})
			}
		}
	}
	for key, p := range pods {
		if old := s.pods[key]; old == nil || old.UID != p.UID {
			items, changed = append(items, wire.Item{Table: "pods", Key: key, Object: p}), true
		}
	}
	s.pods = pods
	slices.SortFunc(items, func(a, b wire.Item) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return items, changed, err
}

// Pods returns the static pods as items of an assignment.
func (s *Set) Pods() (items []wire.Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, p := range s.pods {
		items = append(items, wire.Item{Table: "pods", Key: key, Object: p})
	}
	return items
}

// Mirrors returns the rows that managers should have for this node's static pods,
// sorted by key.
func (s *Set) Mirrors() (out []*corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		m := *p
		m.UID = ""
		m.Annotations = maps.Clone(p.Annotations)
		m.Annotations[corev1.MirrorPodAnnotationKey] = p.Annotations[object.StaticHash]
		out = append(out, &m)
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int { return strings.Compare(object.KeyOf(a).String(), object.KeyOf(b).String()) })
	return out
}

// Rewrite turns an assignment that speaks of mirrors into one that speaks of static
// pods. say are reports that are due now; again: managers should be told of the
// mirrors once more.
func (s *Set) Rewrite(full bool, items []wire.Item) (out []wire.Item, say []wire.PodReport, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if full {
		clear(s.mirrors)
	}
	seen := map[object.Key]bool{}
	for _, it := range items {
		p, _ := it.Object.(*corev1.Pod)
		own := s.pods[it.Key]
		switch {
		case it.Table != "pods" || own == nil && (it.Deleted || !object.MirrorPod(p)):
			if p == nil || p.Annotations[object.StaticSource] != "file" { // a static pod of an earlier life, whose file is gone
				out = append(out, it)
			}
		case it.Deleted:
			delete(s.mirrors, it.Key)
			again = true
		case own == nil, p.DeletionTimestamp != nil, p.Annotations[corev1.MirrorPodAnnotationKey] != own.Annotations[object.StaticHash]:
			delete(s.mirrors, it.Key)
			say, again = append(say, wire.PodReport{Key: it.Key, UID: p.UID, Gone: true}), true
		default:
			s.mirrors[it.Key], seen[it.Key] = p.UID, true
			next := *own
			next.Status, next.ResourceVersion = p.Status, p.ResourceVersion
			out = append(out, wire.Item{Table: it.Table, Key: it.Key, Object: &next})
			if r, ok := s.last[own.UID]; ok {
				r.UID = p.UID
				say = append(say, r)
			}
		}
	}
	for key, p := range s.pods {
		if full && !seen[key] {
			out, again = append(out, wire.Item{Table: "pods", Key: key, Object: p}), true
		}
	}
	return out, say, again
}

// Report turns a report of a static pod into one of its mirror; false: there is
// nobody to tell now. Other reports pass.
func (s *Set) Report(r wire.PodReport) (wire.PodReport, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[r.Key]
	if p == nil || p.UID != r.UID {
		return r, true // a manager that does not know the UID passes it over
	}
	s.last[r.UID] = r
	uid, ok := s.mirrors[r.Key]
	if !ok || r.Gone {
		return r, false
	}
	r.UID = uid
	return r, true
}

// Mirror returns the UID by which managers know the pod of the key.
func (s *Set) Mirror(key object.Key, uid types.UID) types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, m := s.pods[key], s.mirrors[key]; p != nil && p.UID == uid && m != "" {
		return m
	}
	return uid
}
