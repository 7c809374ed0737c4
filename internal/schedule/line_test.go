package schedule

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// crowd is a cell of nodes that are full but for one place each, and pods that fit nowhere.
type crowd struct {
	t     testing.TB
	s     *store.Store
	sched *Scheduler
	r     *loop.Runner
	now   time.Time
	made  int
}

func newCrowd(t testing.TB, nodes int) *crowd {
	c := &crowd{t: t, s: newStore(t), sched: New(Config{}), now: time.Unix(1_900_000_000, 0)}
	c.r = loop.New(c.s, loop.Config{Now: func() time.Time { return c.now }}, c.sched)
	update(t, c.s, func(tx *store.Tx) {
		for i := range nodes {
			tables.Nodes.Put(tx, testNode(fmt.Sprintf("n%04d", i), "4", 110))
		}
	})
	return c
}

// misfits makes pods that fit nowhere, with one of so many selectors or sizes.
func (c *crowd) misfits(n, kinds int) {
	update(c.t, c.s, func(tx *store.Tx) {
		for i := range n {
			p := testPod(fmt.Sprintf("misfit%06d", i), fmt.Sprintf("%dm", 10_000+i%kinds), types.UID(fmt.Sprintf("m%d", i%kinds)))
			if i%kinds%2 == 1 {
				p = testPod(p.Name, "100m", types.UID(fmt.Sprintf("m%d", i%kinds)))
				p.Spec.NodeSelector = map[string]string{"kind": fmt.Sprint(i % kinds)}
			}
			tables.Pods.Put(tx, p)
		}
	})
	c.settle()
}

func (c *crowd) settle() {
	c.t.Helper()
	for {
		again, _, err := c.r.Tick(context.Background())
		if err != nil {
			c.t.Fatal(err)
		}
		if st := c.r.Stats()[0]; st.Err != "" {
			c.t.Fatal(st.Err)
		}
		if !again {
			return
		}
	}
}

// fits makes pods that find a place.
func (c *crowd) fits(n int) {
	update(c.t, c.s, func(tx *store.Tx) {
		for range n {
			tables.Pods.Put(tx, testPod(fmt.Sprintf("fit%06d", c.made), "1", "rs"))
			c.made++
		}
	})
}

// end takes the oldest that fit away.
func (c *crowd) end(from, to int) {
	update(c.t, c.s, func(tx *store.Tx) {
		for i := from; i < to; i++ {
			tables.Pods.Delete(tx, object.Key{Namespace: "default", Name: fmt.Sprintf("fit%06d", i)})
		}
	})
}

func (c *crowd) revisions() map[string]store.Rev {
	out := map[string]store.Rev{}
	for row := range tables.Pods.Rows(c.s.Head(), "") {
		if row.Head().Node == "" {
			out[row.Key().Name] = row.Rev()
		}
	}
	return out
}

// TestMisfitsCostNothing lets pods end and others take their places beside pods that fit nowhere: nobody
// looks at these again, and nothing is written of them twice.
func TestMisfitsCostNothing(t *testing.T) {
	for _, kinds := range []int{2, 600} {
		c := newCrowd(t, 20)
		c.sched.exact = -1
		c.fits(80)
		c.misfits(3000, kinds)
		if c.sched.queue.Looks != kinds {
			t.Errorf("%d kinds of misfits were looked at %d times", kinds, c.sched.queue.Looks)
		}
		c.end(0, 1)
		c.fits(1)
		c.settle()
		before, looked := c.revisions(), c.sched.queue.Looks
		if len(before) != 3000 {
			t.Fatalf("%d pods wait", len(before))
		}
		for i := range 30 {
			c.end(1+i, 2+i)
			c.settle()
			c.fits(1)
			c.settle()
		}
		if c.sched.queue.Looks != looked {
			t.Errorf("%d kinds were looked at %d times more while others took places", kinds, c.sched.queue.Looks-looked)
		}
		for name, rev := range c.revisions() {
			if before[name] != rev {
				t.Fatalf("%s was written again, or has no place", name)
			}
			p, _ := tables.Pods.Get(c.s.Head(), object.Key{Namespace: "default", Name: name})
			if cond := object.PodCondition(p, corev1.PodScheduled); cond == nil || cond.Message == "" {
				t.Fatalf("nobody said of %s why it waits", name)
			}
		}
	}
}

// TestMisfitsGetTheirNode: what was shut is found by the node that it waits for, and others are not looked at.
func TestMisfitsGetTheirNode(t *testing.T) {
	c := newCrowd(t, 20)
	c.sched.exact = -1
	c.misfits(1000, 1000)
	looked := c.sched.queue.Looks
	update(t, c.s, func(tx *store.Tx) {
		n := testNode("odd", "4", 110)
		n.Labels = map[string]string{"kind": "77"}
		tables.Nodes.Put(tx, n)
		big := testNode("big", "20", 110)
		tables.Nodes.Put(tx, big)
	})
	c.settle()
	left := c.revisions()
	if _, waits := left["misfit000077"]; waits || len(left) != 998 {
		t.Errorf("%d pods wait, of 1000 of which one wants the one node and the other takes one of 500", len(left))
	}
	if _, waits := left["misfit000000"]; waits {
		t.Error("the oldest of those that fit the large node waits")
	}
	if more := c.sched.queue.Looks - looked; more > 500 {
		t.Errorf("%d lines were looked at in vain, though half want other labels", more)
	}
}

func BenchmarkMisfits(b *testing.B) {
	for _, kinds := range []int{0, 10, 20_000} {
		b.Run(fmt.Sprint(kinds), func(b *testing.B) {
			c := newCrowd(b, 1000)
			c.fits(4000)
			c.settle()
			if kinds > 0 {
				c.misfits(20_000, kinds)
			}
			at := 0
			b.ResetTimer()
			for b.Loop() {
				c.end(at, at+500)
				at += 500
				c.fits(500)
				c.settle()
			}
			b.ReportMetric(float64(500*b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}
