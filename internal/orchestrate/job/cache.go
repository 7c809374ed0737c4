package job

import (
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// noIndex stands for the index of a pod that has none.
const noIndex = int32(-1)

// entry is what the loop knows of one pod.
type entry struct {
	owner    types.UID
	uid      types.UID
	phase    corev1.PodPhase
	index    int32
	ready    bool
	deleting bool
	hidden   bool // admission has yet to see it: it counts, and nobody is told
	tracked  bool // it has the finalizer
	matches  bool // the Job selects it
	restarts int32
	created  time.Time
	ended    time.Time
}

func (e *entry) over() bool { return e.phase == corev1.PodSucceeded || e.phase == corev1.PodFailed }

// active pods have neither ended nor been asked to.
func (e *entry) active() bool { return !e.over() && !e.deleting }

// due reports whether the pod may have to be counted.
func (e *entry) due() bool { return e.tracked && !e.active() }

// counts are a Job's pods by what they are.
type counts struct{ active, hidden, ready, terminating, restarts int32 }

// job is what the loop knows of one Job.
type job struct {
	uid      types.UID
	key      object.Key
	selector labels.Selector // nil: matches nothing
	indexed  bool

	pods   map[object.Key]*entry
	count  counts
	due    map[object.Key]bool // pods to count
	failed map[object.Key]bool // pods that have failed, counted or not
	strays map[object.Key]bool // active pods it owns and does not select
	adopts map[object.Key]bool // pods it selects that have no owner
	at     map[int32]int32     // active pods by index
	ending map[int32]int32     // terminating pods by index
}

func newJob(o *batchv1.Job) *job {
	return &job{
		uid: o.UID, key: object.KeyOf(o), pods: map[object.Key]*entry{}, due: map[object.Key]bool{}, failed: map[object.Key]bool{},
		strays: map[object.Key]bool{}, adopts: map[object.Key]bool{}, at: map[int32]int32{}, ending: map[int32]int32{},
	}
}

// take reads the Job's spec; the selector never changes.
func (j *job) take(o *batchv1.Job) {
	j.indexed = o.Spec.CompletionMode != nil && *o.Spec.CompletionMode == batchv1.IndexedCompletion
	if j.selector != nil {
		return
	}
	if sel, err := metav1.LabelSelectorAsSelector(o.Spec.Selector); err == nil && !sel.Empty() {
		j.selector = sel
	}
}

func (j *job) selects(l map[string]string) bool {
	return j.selector != nil && j.selector.Matches(labels.Set(l))
}

// put takes in a pod, in the place of what was known of it.
func (j *job) put(key object.Key, e *entry) {
	j.drop(key)
	j.pods[key] = e
	j.tally(e, 1)
	mark(j.due, key, e.due())
	mark(j.failed, key, e.phase == corev1.PodFailed)
	mark(j.strays, key, e.active() && !e.matches)
}

// drop forgets a pod.
func (j *job) drop(key object.Key) {
	if e := j.pods[key]; e != nil {
		j.tally(e, -1)
		delete(j.pods, key)
		delete(j.due, key)
		delete(j.failed, key)
		delete(j.strays, key)
	}
}

func (j *job) tally(e *entry, sign int32) {
	switch {
	case e.over():
		return
	case e.deleting:
		j.count.terminating += sign
		bump(j.ending, e.index, sign)
	default:
		j.count.active += sign
		bump(j.at, e.index, sign)
		if e.hidden {
			j.count.hidden += sign
		}
		if e.ready {
			j.count.ready += sign
		}
		j.count.restarts += sign * e.restarts
	}
}

func bump(m map[int32]int32, i, by int32) {
	if i == noIndex {
		return
	}
	if m[i] += by; m[i] == 0 {
		delete(m, i)
	}
}

func mark(m map[object.Key]bool, key object.Key, is bool) {
	if is {
		m[key] = true
	} else {
		delete(m, key)
	}
}

// cache is everything the loop keeps between steps.
type cache struct {
	jobs      map[types.UID]*job
	byKey     map[object.Key]*job
	namespace map[string]map[types.UID]*job
	owner     map[object.Key]types.UID       // of the pods that a Job here owns
	orphans   map[string]map[object.Key]bool // active pods without a controller, by namespace
	loose     map[object.Key]bool            // tracked pods whose Job is not here
	dirty     map[types.UID]bool
	wake      map[types.UID]time.Time // when to look at a Job again
}

func newCache() cache {
	return cache{
		jobs: map[types.UID]*job{}, byKey: map[object.Key]*job{}, namespace: map[string]map[types.UID]*job{},
		owner: map[object.Key]types.UID{}, orphans: map[string]map[object.Key]bool{}, loose: map[object.Key]bool{},
		dirty: map[types.UID]bool{}, wake: map[types.UID]time.Time{},
	}
}

// observePod takes in a pod that changed and marks the Jobs it concerns.
func (c *cache) observePod(tx *store.Tx, key object.Key) {
	if j := c.jobs[c.owner[key]]; j != nil {
		j.drop(key)
		c.dirty[j.uid] = true
	}
	delete(c.owner, key)
	delete(c.orphans[key.Namespace], key)
	delete(c.loose, key)
	row, ok := tables.Pods.Row(tx, key)
	if !ok {
		return
	}
	h := row.Head()
	if h.Owner == "" {
		c.orphan(key, h)
	} else if j := c.jobs[h.Owner]; j != nil {
		c.own(j, key, h)
		c.dirty[j.uid] = true
		return
	}
	if h.JobTracked {
		c.loose[key] = true // a Job that comes later takes it out again
	}
}

func (c *cache) own(j *job, key object.Key, h *tables.PodHead) {
	e := &entry{
		owner: j.uid, uid: h.UID, phase: h.Phase, index: noIndex, ready: h.Ready, deleting: h.Deleting, hidden: h.UnderReview, tracked: h.JobTracked,
		matches: j.selects(h.Labels), restarts: h.Restarts, created: h.Created, ended: h.EndedAt,
	}
	if j.indexed {
		if i, err := strconv.ParseInt(h.Labels[batchv1.JobCompletionIndexAnnotation], 10, 32); err == nil && i >= 0 {
			e.index = int32(i)
		}
	}
	j.put(key, e)
	c.owner[key] = j.uid
	delete(c.loose, key)
}

// orphan remembers a pod that some Job may adopt.
func (c *cache) orphan(key object.Key, h *tables.PodHead) {
	if h.Deleting || h.Ended() {
		return
	}
	if c.orphans[key.Namespace] == nil {
		c.orphans[key.Namespace] = map[object.Key]bool{}
	}
	c.orphans[key.Namespace][key] = true
	for uid, j := range c.namespace[key.Namespace] {
		if j.selects(h.Labels) {
			j.adopts[key] = true
			c.dirty[uid] = true
		}
	}
}

// observeJob takes in a Job that changed.
func (c *cache) observeJob(tx *store.Tx, key object.Key) {
	o, ok := tables.Jobs.Get(tx, key)
	if was := c.byKey[key]; was != nil && (!ok || o.UID != was.uid) {
		c.forget(was)
	}
	if !ok {
		return
	}
	c.dirty[o.UID] = true
	if j := c.jobs[o.UID]; j != nil {
		j.take(o)
		return
	}
	j := newJob(o)
	j.take(o)
	c.jobs[o.UID], c.byKey[key] = j, j
	if c.namespace[key.Namespace] == nil {
		c.namespace[key.Namespace] = map[types.UID]*job{}
	}
	c.namespace[key.Namespace][o.UID] = j
	for row := range tables.Pods.By(tx, tables.OwnerIndex, string(o.UID)) {
		if row.Head().Owner == o.UID {
			c.own(j, row.Key(), row.Head())
		}
	}
	for orphan := range c.orphans[key.Namespace] {
		if row, ok := tables.Pods.Row(tx, orphan); ok && j.selects(row.Head().Labels) {
			j.adopts[orphan] = true
		}
	}
}

// forget drops a Job that is gone; its pods are to be let go.
func (c *cache) forget(j *job) {
	for key, e := range j.pods {
		delete(c.owner, key)
		if e.tracked {
			c.loose[key] = true
		}
	}
	delete(c.jobs, j.uid)
	delete(c.byKey, j.key)
	delete(c.namespace[j.key.Namespace], j.uid)
	delete(c.dirty, j.uid)
	delete(c.wake, j.uid)
}
