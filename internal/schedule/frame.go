package schedule

import (
	corev1 "k8s.io/api/core/v1"

	"trireme/internal/object/swarm"
	"trireme/internal/schedule/key"
)

// frame is what nodes' rows alone say to the pods that ask the same of them: whether they may run
// there, and how well that suits them. Classes share it. A node is judged when somebody wants to
// know, and again when its row has changed.
type frame struct {
	rows   []uint64 // by slot: which version of the row was judged; 0: none
	codes  []int32  // 0: it has nothing against them; else 1 + where its reason is in words
	points []int64
	words  []string
	known  map[string]int32 // codes of words
}

const (
	// framesMax bounds the frames that are known of, and judgedMax those of them that keep what they
	// found, for somebody asked twice.
	framesMax = 8192
	judgedMax = 128
)

// frame returns the frame of the class; nil: nobody asked for the like of it before, so that it is not worth keeping.
func (c *cell) frame(cl *class) *frame {
	f, asked := c.frames[cl.asked]
	if !asked {
		if len(c.frames) >= framesMax {
			clear(c.frames)
			c.judged = 0
		}
		c.frames[cl.asked] = nil
		return nil
	}
	if f == nil {
		if c.judged >= judgedMax {
			clear(c.frames)
			c.judged = 0
		}
		f = &frame{known: map[string]int32{}}
		c.frames[cl.asked] = f
		c.judged++
	}
	if more := len(c.spots) - len(f.rows); more > 0 {
		f.rows = append(f.rows, make([]uint64, more)...)
		f.codes = append(f.codes, make([]int32, more)...)
		f.points = append(f.points, make([]int64, more)...)
	}
	return f
}

// judge returns what the node's row says to the class: its points, and why not; empty: it may.
func (f *frame) judge(cl *class, n *node) (points int64, why string) {
	if f == nil {
		if why = cl.static(n); why != "" {
			return 0, why
		}
		return cl.wishes(n.row), ""
	}
	i := n.slot
	if f.rows[i] != n.seen {
		f.rows[i], f.codes[i] = n.seen, 0
		if why := cl.static(n); why != "" {
			f.codes[i] = f.code(why)
		} else {
			f.points[i] = cl.wishes(n.row)
		}
	}
	if code := f.codes[i]; code > 0 {
		return 0, f.words[code-1]
	}
	return f.points[i], ""
}

func (f *frame) code(why string) int32 {
	code := f.known[why]
	if code == 0 {
		f.words = append(f.words, why)
		code = int32(len(f.words))
		f.known[why] = code
	}
	return code
}

// static returns what the node's row has against the class; empty: nothing.
func (cl *class) static(n *node) string {
	for i := range rules {
		if rules[i].row {
			if why := rules[i].refuses(cl, n); len(why) > 0 {
				return why[0]
			}
		}
	}
	return ""
}

// frameKey names all that frames look at of a pod.
func frameKey(p *corev1.Pod) uint64 {
	h := key.New()
	h.String(p.Spec.SchedulerName)
	h.Texts(p.Spec.NodeSelector)
	h.Tolerations(p.Spec.Tolerations)
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		h.Bytes(a.NodeAffinity.Marshal())
	}
	h.String(p.Annotations[swarm.PlacementAnnotation])
	return h.Sum64()
}
