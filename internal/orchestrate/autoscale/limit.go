package autoscale

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/object"
)

// downWindow is for how long the largest recommendation holds where nothing is said
// (API reference, HPAScalingRules).
const downWindow = 5 * time.Minute

func window(r *autoscalingv2.HPAScalingRules, otherwise time.Duration) time.Duration {
	if r.StabilizationWindowSeconds == nil {
		return otherwise
	}
	return time.Duration(*r.StabilizationWindowSeconds) * time.Second
}

// stabilize keeps the size within what was recommended lately, and remembers what is
// recommended now.
func (s *scaler) stabilize(want int32) (n int32, reason, message string) {
	upFrom, downFrom := s.now.Add(-window(s.up, 0)), s.now.Add(-window(s.down, downWindow))
	least, most := want, want
	for _, r := range s.past.Recommended {
		if r.At.After(upFrom) {
			least = min(least, r.Replicas)
		}
		if r.At.After(downFrom) {
			most = max(most, r.Replicas)
		}
	}
	s.past.Recommended = remember(s.past.Recommended, object.ScaleStep{At: s.now, Replicas: want})
	n = min(max(s.target.Replicas, least), most)
	switch {
	case n == want:
		return n, "ReadyForNewScale", "recommended size matches current size"
	case want > n:
		return n, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"
	}
	return n, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"
}

// remember adds a step; a second one of the same time takes the first one's place.
func remember(all []object.ScaleStep, step object.ScaleStep) []object.ScaleStep {
	if n := len(all); n > 0 && all[n-1].At.Equal(&step.At) {
		all = all[:n-1]
	}
	return append(all, step)
}

// limit keeps the size within the bounds, and the change within what the policies
// allow.
func (s *scaler) limit(want int32) (n int32, reason, message string) {
	current, least, most := s.target.Replicas, s.least(), s.h.Spec.MaxReplicas
	switch {
	case want > current:
		fast := max(s.fastest(s.up, true), current)
		switch n = min(want, fast, most); {
		case n == want:
		case most <= fast:
			return n, "TooManyReplicas", "the desired replica count is more than the maximum replica count"
		default:
			return n, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
		}
	case want < current:
		fast := min(s.fastest(s.down, false), current)
		switch n = max(want, fast, least); {
		case n == want:
		case least >= fast:
			return n, "TooFewReplicas", "the desired replica count is less than the minimum replica count"
		default:
			return n, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
		}
	}
	return want, "", "the desired count is within the acceptable range"
}

// fastest returns the size that the policies allow at most, or at least, now.
func (s *scaler) fastest(r *autoscalingv2.HPAScalingRules, up bool) int32 {
	current := s.target.Replicas
	choice := autoscalingv2.MaxChangePolicySelect
	if r.SelectPolicy != nil {
		choice = *r.SelectPolicy
	}
	if choice == autoscalingv2.DisabledPolicySelect {
		return current
	}
	best, first := current, true
	for _, p := range r.Policies {
		from := s.now.Add(-time.Duration(p.PeriodSeconds) * time.Second)
		start := float64(current - within(s.past.Added, from) + within(s.past.Removed, from))
		n := reach(p, start, up)
		larger := n > best
		if wantLarger := (choice == autoscalingv2.MaxChangePolicySelect) == up; first || larger == wantLarger && n != best {
			best, first = n, false
		}
	}
	return best
}

// reach returns the size that one policy allows from the size at its period's start.
func reach(p autoscalingv2.HPAScalingPolicy, start float64, up bool) int32 {
	change := float64(p.Value)
	if p.Type == autoscalingv2.PercentScalingPolicy {
		change = start * float64(p.Value) / 100
	}
	if up {
		return int32(min(math.Ceil(start+change-1e-9), math.MaxInt32))
	}
	return int32(max(math.Floor(start-change+1e-9), 0))
}

func within(steps []object.ScaleStep, from time.Time) (n int32) {
	for _, s := range steps {
		if s.At.After(from) {
			n += s.Replicas
		}
	}
	return n
}

// prune drops what no rule looks at any more.
func (s *scaler) prune() {
	longest := max(window(s.up, 0), window(s.down, downWindow))
	s.past.Recommended = since(s.past.Recommended, s.now.Add(-longest))
	period := int32(0)
	for _, r := range []*autoscalingv2.HPAScalingRules{s.up, s.down} {
		for _, p := range r.Policies {
			period = max(period, p.PeriodSeconds)
		}
	}
	from := s.now.Add(-time.Duration(period) * time.Second)
	s.past.Added, s.past.Removed = since(s.past.Added, from), since(s.past.Removed, from)
}

func since(steps []object.ScaleStep, from time.Time) []object.ScaleStep {
	i := 0
	for i < len(steps) && !steps[i].At.After(from) {
		i++
	}
	if i == len(steps) {
		return nil
	}
	return steps[i:]
}

// moved remembers a change of size.
func (s *scaler) moved(from, to int32) {
	at := metav1.Time{Time: s.now.Time}
	if to > from {
		s.past.Added = append(s.past.Added, object.ScaleStep{At: at, Replicas: to - from})
	} else {
		s.past.Removed = append(s.past.Removed, object.ScaleStep{At: at, Replicas: from - to})
	}
}
