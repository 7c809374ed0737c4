package autoscale

import (
	"errors"
	"math"

	corev1 "k8s.io/api/core/v1"
)

// counted is a pod and what it uses.
type counted struct {
	member
	value   float64
	request float64
}

// crowd is a target's pods by how a metric counts them (Kubernetes, "Horizontal Pod
// Autoscaling", "Algorithm details").
type crowd struct {
	all     []counted // known first, then missing, then unready
	known   int
	missing int // they should show the metric and do not
	unready int // what they show says little yet
	milli   bool
}

// crowd groups the target's pods; cpu: those that have just started say little.
func (s *scaler) crowd(value func(member) (float64, bool), cpu bool) (*crowd, error) {
	if len(s.members) == 0 {
		return nil, errors.New("no pods returned by selector while calculating replica count")
	}
	c := &crowd{}
	var missing, unready []counted
	for _, m := range s.members {
		v, ok := value(m)
		switch {
		case m.head.Phase == corev1.PodPending:
			unready = append(unready, counted{member: m})
		case !ok:
			missing = append(missing, counted{member: m})
		case cpu && s.young(m):
			unready = append(unready, counted{member: m})
		default:
			c.all = append(c.all, counted{member: m, value: v})
		}
	}
	c.known, c.missing, c.unready = len(c.all), len(missing), len(unready)
	c.all = append(append(c.all, missing...), unready...)
	if c.known == 0 {
		return nil, errors.New("no metrics returned from the pods that are ready")
	}
	return c, nil
}

// young reports whether a pod's CPU use is still that of its start.
func (s *scaler) young(m member) bool {
	if s.tx.Now().Sub(m.head.Created) >= settleFor {
		return false
	}
	return !m.head.Ready || m.sample.At.Time.Before(m.head.ReadySince.Add(m.sample.Window.Duration))
}

// ratio returns how far what the first n pods use is from the aim, and what they use on
// average. weigh: a pod's value and what it should be.
func (c *crowd) ratio(n int, weigh func(*counted) (value, should float64)) float64 {
	var value, should float64
	for i := range c.all[:n] {
		v, w := weigh(&c.all[i])
		value, should = value+v, should+w
	}
	if should == 0 {
		return 1
	}
	return value / should
}

// size returns how many pods bring the ratio to one. What is not known is taken for what
// makes the change smaller: when there are to be fewer, pods that miss use fallback, when
// more, nothing, and so do those that are not ready.
func (c *crowd) size(s *scaler, weigh func(*counted) (value, should float64), fallback func(*counted) float64) int32 {
	current := s.target.Replicas
	first := c.ratio(c.known, weigh)
	counts := c.known
	late := c.unready > 0 && first > 1
	if !late && c.missing == 0 {
		if s.tolerated(first) {
			return current
		}
		return up(first * float64(counts))
	}
	for i := c.known; i < c.known+c.missing; i++ {
		c.all[i].value = 0
		if first < 1 {
			c.all[i].value = fallback(&c.all[i])
		}
	}
	counts += c.missing
	if late {
		counts += c.unready
	}
	again := c.ratio(counts, weigh)
	if s.tolerated(again) || first < 1 && again > 1 || first > 1 && again < 1 {
		return current
	}
	n := up(again * float64(counts))
	if again < 1 && n > current || again > 1 && n < current {
		return current
	}
	return n
}

// raw sizes by the average value.
func (c *crowd) raw(s *scaler, aim float64) (n int32, average float64) {
	average = c.average()
	n = c.size(s, func(m *counted) (float64, float64) { return m.value, aim }, func(*counted) float64 { return aim })
	return n, average
}

// utilization sizes by the share of what is requested, in percent.
func (c *crowd) utilization(s *scaler, aim float64) (n, percent int32, average float64) {
	average = c.average()
	var value, request float64
	for i := range c.all[:c.known] {
		value, request = value+c.all[i].value, request+c.all[i].request
	}
	if request > 0 {
		percent = int32(min(math.Floor(value/request*100+1e-9), math.MaxInt32))
	}
	n = c.size(s, func(m *counted) (float64, float64) { return m.value, m.request * aim / 100 },
		func(m *counted) float64 { return m.request * max(100, aim) / 100 })
	return n, percent, average
}

func (c *crowd) average() float64 {
	sum := 0.0
	for i := range c.all[:c.known] {
		sum += c.all[i].value
	}
	return sum / float64(c.known)
}
