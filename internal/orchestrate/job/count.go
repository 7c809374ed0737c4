package job

import (
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object"
	"trireme/internal/tables"
)

const (
	// uncountedMax bounds status.uncountedTerminatedPods.
	uncountedMax = 500
	// wholeMax is up to how many writes into a tick the store surely commits them
	// together with what stands before them: far below what one commit takes.
	wholeMax = 128
)

// failure is a pod that failed while its index may be tried again. It keeps its
// finalizer until its successor carries on its counts.
type failure struct {
	key               object.Key
	failures, ignored int32 // of the index, this one included
	ended             time.Time
}

// flush raises the counters by the pods that an earlier tick listed as uncounted and
// took the finalizer from.
func (s *sync) flush() {
	list := s.st.UncountedTerminatedPods
	if len(list.Succeeded)+len(list.Failed) == 0 {
		return
	}
	tracked, young := map[types.UID]bool{}, map[types.UID]bool{}
	for key := range s.j.due {
		tracked[s.j.pods[key].uid] = true
	}
	for key, e := range s.j.pods {
		if row, ok := tables.Pods.Row(s.tx, key); ok && row.Rev() == 0 {
			young[e.uid] = true
		}
	}
	settle := func(uids []types.UID, counter *int32) []types.UID {
		return slices.DeleteFunc(uids, func(uid types.UID) bool {
			if tracked[uid] || young[uid] || s.fresh {
				s.at = s.tx.Now() // the next tick
				return false
			}
			*counter++
			return true
		})
	}
	list.Failed = settle(list.Failed, &s.st.Failed)
	succeeded := s.st.Succeeded
	list.Succeeded = settle(list.Succeeded, &succeeded)
	if !s.j.indexed {
		s.st.Succeeded = succeeded
	}
}

// outcome is what became of a pod that is due.
type outcome int

const (
	pending outcome = iota // it may yet succeed or fail
	success
	failed
)

func (s *sync) outcome(key object.Key, e *entry) outcome {
	switch {
	case e.phase == corev1.PodSucceeded:
		return success
	case e.phase == corev1.PodFailed:
		return failed
	case !s.waitsForEnd() || holds(&s.st, batchv1.JobFailureTarget) != nil || s.o.DeletionTimestamp != nil:
		return failed
	}
	// A pod that nobody runs never says how it ended.
	pod, ok := tables.Pods.Get(s.tx, key)
	if ok && (pod.Spec.NodeName == "" || pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0) {
		return failed
	}
	return pending
}

// tally counts the pods that have ended since the last look.
func (s *sync) tally() {
	list := s.st.UncountedTerminatedPods
	known := map[types.UID]bool{}
	for _, uid := range slices.Concat(list.Succeeded, list.Failed) {
		known[uid] = true
	}
	var won, lost []types.UID
	for _, key := range object.SortedKeys(s.j.due) {
		if len(known)+len(won)+len(lost) >= uncountedMax || len(s.strip) >= s.budget {
			s.at, s.cut = s.tx.Now(), true
			break
		}
		e := s.j.pods[key]
		switch was := s.outcome(key, e); {
		case was == pending:
			continue
		case known[e.uid]:
		case was == success && !s.j.indexed:
			won = append(won, e.uid)
		case was == success:
			s.succeed(e.index)
		default:
			counted, hold := s.fail(key, e)
			if hold {
				continue
			}
			if counted {
				lost = append(lost, e.uid)
			}
		}
		s.strip = append(s.strip, key)
	}
	s.release()
	if len(won)+len(lost) == 0 {
		return
	}
	if s.tx.Writes()+len(s.strip) <= wholeMax {
		s.st.Succeeded += int32(len(won))
		s.st.Failed += int32(len(lost))
		return
	}
	list.Succeeded, list.Failed = append(list.Succeeded, won...), append(list.Failed, lost...)
	s.at = s.tx.Now()
}

// ending reports whether no pod will be made any more.
func (s *sync) ending() bool {
	return s.o.DeletionTimestamp != nil || holds(&s.st, batchv1.JobFailureTarget) != nil || holds(&s.st, batchv1.JobSuccessCriteriaMet) != nil
}

func (s *sync) succeed(index int32) {
	if index != noIndex && index < s.completions() && !s.completed.has(index) {
		s.completed = s.completed.add(span{index, index})
	}
}

// fail takes in a pod that failed and says whether it counts against the limit, and
// whether it is to be held for its successor.
func (s *sync) fail(key object.Key, e *entry) (counted, hold bool) {
	if s.j.indexed && (e.index == noIndex || e.index >= s.completions()) {
		return false, false
	}
	perIndex := s.o.Spec.BackoffLimitPerIndex
	if s.o.Spec.PodFailurePolicy == nil && perIndex == nil {
		return true, false
	}
	pod, ok := tables.Pods.Get(s.tx, key)
	if !ok {
		return true, false
	}
	verdict := judgePod(s.o.Spec.PodFailurePolicy, pod)
	if verdict.action == batchv1.PodFailurePolicyActionFailJob && s.verdict == "" {
		s.verdict = verdict.message
	}
	counted = verdict.action != batchv1.PodFailurePolicyActionIgnore
	if perIndex == nil || s.completed.has(e.index) || s.lost.has(e.index) || s.ending() {
		return counted, false // what is told to end as the Job does is not the index's failure
	}
	f := &failure{
		key: key, ended: e.ended,
		failures: annotated(pod, batchv1.JobIndexFailureCountAnnotation), ignored: annotated(pod, batchv1.JobIndexIgnoredFailureCountAnnotation),
	}
	if counted {
		if verdict.action == batchv1.PodFailurePolicyActionFailIndex || f.failures >= *perIndex {
			s.lost = s.lost.add(span{e.index, e.index})
			return true, false
		}
		f.failures++
	} else {
		f.ignored++
	}
	if s.j.at[e.index] > 0 {
		return counted, false // a successor carries on its counts
	}
	was := s.held[e.index]
	if was == nil {
		s.held[e.index] = f
		return counted, true
	}
	if was.failures+was.ignored < f.failures+f.ignored {
		s.held[e.index] = f // the older one is counted at the next look
	}
	return counted, true
}

// release stops holding the pods of indexes that have ended by now.
func (s *sync) release() {
	for i := range s.held {
		if s.lost.has(i) || s.completed.has(i) {
			delete(s.held, i)
			s.at = s.tx.Now()
		}
	}
}

func annotated(pod *corev1.Pod, name string) int32 {
	n, err := strconv.ParseInt(pod.Annotations[name], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int32(n)
}
