package sow

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// failuresAnnotation counts, on a pod that takes the place of one that failed,
// how many failed there in a row. It lives on the pod so that a new leader knows.
const failuresAnnotation = "trireme.dev/failures"

const (
	retryMin = time.Second
	retryMax = 15 * time.Minute
	// calm is how long a pod must have lived for its end not to count with those
	// before it.
	calm = 10 * time.Minute
)

// RetryAt returns when a pod that has ended may be replaced: the more of its
// predecessors failed in a row, the longer it must have been there, from a
// second, doubling, to 15 minutes.
func RetryAt(ended *corev1.Pod) time.Time {
	wait := retryMin
	for range failures(ended) {
		if wait = 2 * wait; wait >= retryMax {
			wait = retryMax
			break
		}
	}
	return ended.CreationTimestamp.Add(wait)
}

// Succeed notes on the pod that takes the place of one that ended how often this
// has happened in a row, which is what FailuresBefore returned.
func Succeed(next *corev1.Pod, failures int) {
	if failures == 0 {
		return
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Annotations[failuresAnnotation] = strconv.Itoa(failures)
}

// FailuresBefore returns how many pods in a row have failed with this one.
func FailuresBefore(ended *corev1.Pod, now time.Time) int {
	if now.Sub(ended.CreationTimestamp.Time) > calm+retryMax {
		return 1
	}
	return failures(ended) + 1
}

func failures(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[failuresAnnotation])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
