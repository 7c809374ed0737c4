package share

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"trireme/internal/object"
)

func demand(cpus, gb int64) object.Demand {
	return object.Demand{CPUMilli: cpus * 1000, MemoryBytes: gb << 30}
}

// fill gives one allocation at a time to who stands lowest, until nobody's next fits.
func fill(t *Tree, asks map[string]object.Demand) map[string]int {
	left, got := t.Total(), map[string]int{}
	for path := range asks {
		t.At(path).Want(true)
	}
	for n := t.Lowest(); n != nil; n = t.Lowest() {
		d := asks[n.Path()]
		if d.CPUMilli > left.CPUMilli || d.MemoryBytes > left.MemoryBytes {
			n.Want(false)
			continue
		}
		left = Plus(left, d, -1)
		n.Charge(d, 1)
		got[n.Path()]++
	}
	return got
}

// TestWorkedExample is that of the paper: 9 CPUs and 18 GB; A's tasks take <1, 4>, B's <3, 1>.
func TestWorkedExample(t *testing.T) {
	tree := New()
	tree.SetTotal(demand(9, 18))
	got := fill(tree, map[string]object.Demand{"A": demand(1, 4), "B": demand(3, 1)})
	if got["A"] != 3 || got["B"] != 2 {
		t.Errorf("A has %d tasks and B %d, want 3 and 2", got["A"], got["B"])
	}
	for _, who := range []string{"A", "B"} {
		if s := tree.At(who).Share(); math.Abs(s-2.0/3) > 1e-9 {
			t.Errorf("%s's dominant share is %v, want 2/3", who, s)
		}
	}
}

func TestWeights(t *testing.T) {
	tree := New()
	tree.SetTotal(demand(30, 300))
	tree.At("a").SetWeight(2)
	got := fill(tree, map[string]object.Demand{"a": demand(1, 1), "b": demand(1, 1)})
	if got["a"] != 20 || got["b"] != 10 {
		t.Errorf("weights 2:1 gave %v", got)
	}
}

// TestTree: what is below a tenant shares its part; the tenant itself stands among them.
func TestTree(t *testing.T) {
	tree := New()
	tree.SetTotal(demand(120, 1200))
	one := demand(1, 1)
	got := fill(tree, map[string]object.Demand{"eng": one, "eng/dev": one, "eng/qa": one, "ops": one})
	if got["ops"] != 60 || got["eng"] != 20 || got["eng/dev"] != 20 || got["eng/qa"] != 20 {
		t.Errorf("%v", got)
	}
	if u := tree.At("eng").Used(); u.CPUMilli != 60_000 {
		t.Errorf("eng has %v", u)
	}
}

func TestBelow(t *testing.T) {
	tree := New()
	tree.SetTotal(demand(100, 100))
	dev, qa, ops := tree.At("eng/dev"), tree.At("eng/qa"), tree.At("ops")
	dev.Charge(demand(10, 0), 1)
	qa.Charge(demand(20, 0), 1)
	ops.Charge(demand(25, 0), 1)
	for _, c := range []struct {
		a, b *Node
		less int64
		want bool
	}{{dev, qa, 0, true}, {qa, dev, 0, false}, {ops, dev, 0, true}, {dev, ops, 0, false}, {ops, dev, 5, false}, {ops, dev, 4, true}, {dev, dev, 0, false}} {
		if got := Below(c.a, c.b, demand(c.less, 0)); got != c.want {
			t.Errorf("%s is below %s less %d: %v", c.a.Path(), c.b.Path(), c.less, got)
		}
	}
}

// TestOrderIsThatOfASort charges at random and compares the order with one made anew.
func TestOrderIsThatOfASort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	tree := New()
	var list []*Node
	for i := range 60 {
		list = append(list, tree.At(fmt.Sprintf("t%02d", i)))
	}
	for range 3000 {
		n := list[rng.IntN(len(list))]
		switch rng.IntN(8) {
		case 0:
			n.Want(!n.Wants())
		case 1:
			n.SetWeight(float64(1 + rng.IntN(3)))
		case 2:
			tree.SetTotal(demand(int64(1000+rng.IntN(100)), 5000))
		case 3, 4:
			if n.count > 0 {
				n.Charge(demand(1, 1), -1)
			}
		default:
			n.Charge(demand(1, 1), 1)
		}
		got := slices.Collect(tree.Order())
		want := slices.DeleteFunc(slices.Clone(list), func(n *Node) bool { return !n.Wants() })
		slices.SortFunc(want, (*Node).compare)
		if !slices.Equal(got, want) {
			t.Fatal("the order is not that of the shares")
		}
	}
}

func BenchmarkCharge(b *testing.B) {
	for _, tenants := range []int{1, 1000} {
		b.Run(fmt.Sprint(tenants), func(b *testing.B) {
			tree := New()
			tree.SetTotal(demand(1e6, 1e6))
			for i := range tenants {
				tree.At(fmt.Sprint(i)).Want(true)
			}
			for b.Loop() {
				tree.Lowest().Charge(demand(1, 1), 1)
			}
		})
	}
}
