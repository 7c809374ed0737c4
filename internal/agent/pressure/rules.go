package pressure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"trireme/internal/kind"
)

// Signal is something that a node can run short of.
type Signal string

// The signals, in Kubernetes' words.
const (
	Memory      Signal = "memory.available"
	Disk        Signal = "nodefs.available"
	Inodes      Signal = "nodefs.inodesFree"
	ImageDisk   Signal = "imagefs.available"
	ImageInodes Signal = "imagefs.inodesFree"
	Processes   Signal = "pid.available"
)

var signals = []Signal{Memory, Disk, Inodes, ImageDisk, ImageInodes, Processes}

// Config says when pods are evicted, in the words of a kubelet's flags. The zero
// value is of no use: Default returns what it usually is.
type Config struct {
	// Hard are the thresholds that evict at once: memory.available<100Mi,nodefs.available<10%.
	Hard string `json:"hard"`
	// Soft are those that evict after SoftGrace: memory.available=1m30s for each.
	Soft      string `json:"soft"`
	SoftGrace string `json:"softGrace"`
	// MinimumReclaim is how much more than a threshold is to be free before it is over:
	// memory.available=100Mi.
	MinimumReclaim string `json:"minimumReclaim"`
	// MaxPodGraceSeconds bounds the grace of pods that a soft threshold evicts [0].
	MaxPodGraceSeconds int64 `json:"maxPodGraceSeconds"`
	// Transition is for how long a condition stays after its cause has gone, as a duration [5m].
	Transition string `json:"transition"`
}

// Default returns the thresholds of a kubelet, and one for processes.
func Default() Config {
	return Config{
		Hard:       "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<10%,imagefs.inodesFree<5%,pid.available<10%",
		Transition: "5m",
	}
}

// threshold is met while less than it is available.
type threshold struct {
	signal  Signal
	amount  amount
	grace   time.Duration // 0: hard
	hard    bool
	reclaim amount
}

// amount is so many bytes, inodes or processes, or a part of all there are.
type amount struct {
	bytes   int64
	percent float64
}

func (a amount) of(capacity int64) int64 {
	if a.percent > 0 {
		return int64(float64(capacity) * a.percent / 100)
	}
	return a.bytes
}

// Rules is a Config that was read.
type Rules struct {
	thresholds  []threshold
	podGraceMax int64
	transition  time.Duration
}

// Parse reads the rules. An error names the field of the Config.
func (c Config) Parse() (*Rules, error) {
	r := &Rules{podGraceMax: c.MaxPodGraceSeconds}
	var err error
	if r.transition, err = time.ParseDuration(c.Transition); err != nil || r.transition < 0 {
		return nil, invalid("transition", "%q is not a duration such as 5m", c.Transition)
	}
	if c.MaxPodGraceSeconds < 0 {
		return nil, invalid("maxPodGraceSeconds", "%d is below zero", c.MaxPodGraceSeconds)
	}
	if err := r.add(c.Hard, "hard", true); err != nil {
		return nil, err
	}
	if err := r.add(c.Soft, "soft", false); err != nil {
		return nil, err
	}
	graces, err := pairs(c.SoftGrace, "softGrace", "=")
	if err != nil {
		return nil, err
	}
	reclaim, err := pairs(c.MinimumReclaim, "minimumReclaim", "=")
	if err != nil {
		return nil, err
	}
	for i := range r.thresholds {
		t := &r.thresholds[i]
		if s, ok := reclaim[t.signal]; ok {
			if t.reclaim, err = parseAmount(s); err != nil {
				return nil, invalid("minimumReclaim", "%s: %w", t.signal, err)
			}
		}
		if t.hard {
			continue
		}
		if t.grace, err = time.ParseDuration(graces[t.signal]); err != nil || t.grace <= 0 {
			return nil, invalid("softGrace", "grace period must be specified for the soft threshold %s: add %s=1m30s", t.signal, t.signal)
		}
	}
	return r, nil
}

// Kept returns what the hard threshold of the signal keeps free of the capacity.
func (r *Rules) Kept(s Signal, capacity int64) int64 {
	for _, t := range r.thresholds {
		if t.hard && t.signal == s {
			return t.amount.of(capacity)
		}
	}
	return 0
}

func (r *Rules) add(list, field string, hard bool) error {
	found, err := pairs(list, field, "<")
	if err != nil {
		return err
	}
	for _, s := range signals {
		text, ok := found[s]
		if !ok {
			continue
		}
		a, err := parseAmount(text)
		if err != nil {
			return invalid(field, "%s: %w", s, err)
		}
		r.thresholds = append(r.thresholds, threshold{signal: s, amount: a, hard: hard})
	}
	return nil
}

// pairs splits "signal<value,signal<value".
func pairs(list, field, sign string) (map[Signal]string, error) {
	out := map[Signal]string{}
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, value, ok := strings.Cut(one, sign)
		s := Signal(strings.TrimSpace(name))
		switch {
		case !ok:
			return nil, invalid(field, "%q is not SIGNAL%sVALUE, such as memory.available%s100Mi", one, sign, sign)
		case !slices.Contains(signals, s):
			return nil, invalid(field, "unsupported signal %q: it is one of %v", s, signals)
		case out[s] != "":
			return nil, invalid(field, "the signal %s is there twice", s)
		}
		out[s] = strings.TrimSpace(value)
	}
	return out, nil
}

func parseAmount(s string) (amount, error) {
	if p, ok := strings.CutSuffix(s, "%"); ok {
		v, err := strconv.ParseFloat(p, 64)
		if err != nil || v < 0 || v > 100 {
			return amount{}, fmt.Errorf("%q is not a part between 0%% and 100%%", s)
		}
		return amount{percent: v}, nil
	}
	q, err := resource.ParseQuantity(s)
	if err != nil || q.Sign() < 0 {
		return amount{}, fmt.Errorf("%q is not an amount such as 100Mi or 10%%", s)
	}
	return amount{bytes: q.Value()}, nil
}

func invalid(field, format string, args ...any) error {
	return &kind.Error{Kind: kind.Invalid, Op: "configuring eviction", Field: field, Err: kind.New(kind.Invalid, format, args...)}
}
