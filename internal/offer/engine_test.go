package offer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/scheduler"
	"trireme/internal/object"
)

func list(t testing.TB, text string) resource.List {
	t.Helper()
	l, err := resource.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// desk is an engine and the offers that it made.
type desk struct {
	t testing.TB
	*Engine
	n    int
	made map[string]Lent
}

func newDesk(t testing.TB, cfg Config) *desk {
	return &desk{t: t, Engine: New(cfg), made: map[string]Lent{}}
}

func (d *desk) agent(name, has string) *desk {
	l := list(d.t, has)
	d.SetAgent(Agent{Node: name, ID: "S-" + name, Hostname: name, Total: l, Free: l})
	return d
}

func (d *desk) framework(id string, roles ...string) *desk {
	d.SetFramework(Framework{ID: id, Roles: roles})
	return d
}

// cycle makes offers and returns them as text, in order of their making.
func (d *desk) cycle() string {
	var out []string
	for more := true; more; {
		more = d.Cycle(true, 1000, func(m Made) string {
			d.n++
			id := fmt.Sprintf("O%d", d.n)
			d.made[id] = Lent{ID: id, Framework: m.Framework, Role: m.Role, Node: m.Agent.Node, List: m.List}
			out = append(out, fmt.Sprintf("%s to %s as %s: %s", m.Agent.Node, m.Framework, m.Role, m.List))
			return id
		})
	}
	return strings.Join(out, "\n")
}

// decline refuses all offers of the framework.
func (d *desk) decline(framework string) {
	for id, l := range d.made {
		if l.Framework == framework && !l.Refused {
			l.Refused = true
			d.made[id] = l
			d.SetLent(l)
		}
	}
}

func (d *desk) want(what, want string) {
	d.t.Helper()
	if got := d.cycle(); got != want {
		d.t.Errorf("%s: offered\n%s\nwant\n%s", what, got, want)
	}
}

func TestAgentsGoToWhoStandsLowest(t *testing.T) {
	d := newDesk(t, Config{}).framework("f", "a").framework("g", "b").agent("n1", "cpus:1;mem:100").agent("n2", "cpus:1;mem:100").agent("n3", "cpus:1;mem:100")
	d.want("even", "n1 to f as a: cpus:1; mem:100\nn2 to g as b: cpus:1; mem:100\nn3 to f as a: cpus:1; mem:100")
	d.want("nothing is free", "")
	w := newDesk(t, Config{Tenants: []Tenant{{Path: "b", Weight: 2}}}).framework("f", "a").framework("g", "b")
	for i := range 9 {
		w.agent(fmt.Sprint("n", i), "cpus:1;mem:100")
	}
	if got := w.cycle(); strings.Count(got, "to g") != 6 {
		t.Errorf("weights 2:1 gave\n%s", got)
	}
}

func TestRefused(t *testing.T) {
	d := newDesk(t, Config{}).framework("f", "a").agent("n1", "cpus:4;mem:100")
	d.cycle()
	d.decline("f")
	d.want("it has refused as much", "")
	l := list(t, "cpus:3;mem:100")
	d.SetAgent(Agent{Node: "n1", Total: list(t, "cpus:4;mem:100"), Free: l})
	d.want("it has refused more", "")
	l = list(t, "cpus:4;mem:101")
	d.SetAgent(Agent{Node: "n1", Total: l, Free: l})
	d.want("there is more than it has refused", "n1 to f as a: cpus:4; mem:101")
	d.decline("f")
	d.framework("g", "a")
	d.want("another may have it", "n1 to g as a: cpus:4; mem:101")
	d.decline("g")
	d.RemoveLent("O2")
	d.want("the time of what it has refused is over", "n1 to f as a: cpus:4; mem:101")
}

func TestSuppressedAndRevived(t *testing.T) {
	d := newDesk(t, Config{}).agent("n1", "cpus:4;mem:100")
	d.SetFramework(Framework{ID: "f", Roles: []string{"a", "b"}, Suppressed: []string{"a", "b"}})
	d.want("suppressed", "")
	d.SetFramework(Framework{ID: "f", Roles: []string{"a", "b"}, Suppressed: []string{"a"}})
	d.want("one role wants again", "n1 to f as b: cpus:4; mem:100")
}

func TestReserved(t *testing.T) {
	d := newDesk(t, Config{}).framework("f", "eng").framework("g", "eng/dev").framework("h", "ops")
	d.agent("n1", "cpus:1;mem:100;cpus(eng/dev):2;cpus(ops):3")
	d.want("to the role and those below it", "n1 to f as eng: cpus:1; mem:100\nn1 to h as ops: cpus(ops):3\nn1 to g as eng/dev: cpus(eng/dev):2")
}

func TestCapabilities(t *testing.T) {
	plain := list(t, "cpus:1;mem:100")
	rev := resource.List{{Name: resource.CPUs, Scalar: 1000, Revocable: true}}
	refined := list(t, "cpus:2").Reserve(resource.Reservation{Role: "a"}).Reserve(resource.Reservation{Dynamic: true, Role: "a/b"})
	shared := resource.List{{Name: resource.Disk, Scalar: 1000, Shared: true, Reservations: []resource.Reservation{{Dynamic: true, Role: "a/b"}}, Volume: &resource.Volume{ID: "v", ContainerPath: "v"}}}
	all := plain.Plus(rev).Plus(refined).Plus(shared)
	for _, c := range []struct {
		f    Framework
		want resource.List
	}{
		{Framework{}, plain},
		{Framework{Revocable: true}, plain.Plus(rev)},
		{Framework{Refinement: true}, plain.Plus(refined)},
		{Framework{Shared: true}, plain.Plus(shared)},
		{Framework{Shared: true, Refinement: true, Revocable: true}, all},
	} {
		d := newDesk(t, Config{})
		c.f.ID, c.f.Roles = "f", []string{"a/b"}
		d.SetFramework(c.f)
		d.SetAgent(Agent{Node: "n", Total: all, Free: all})
		d.want(fmt.Sprintf("%+v", c.f), "n to f as a/b: "+c.want.String())
		d.want("shared ones are not lent again to whom they are lent", "")
	}
}

func TestGPUsRegionsAndClosed(t *testing.T) {
	has := list(t, "cpus:1;mem:100")
	d := newDesk(t, Config{Region: "here"})
	d.SetFramework(Framework{ID: "f", Roles: []string{"a"}})
	d.SetAgent(Agent{Node: "far", Region: "there", Total: has, Free: has})
	d.SetAgent(Agent{Node: "closed", Closed: true, Total: has, Free: has})
	d.agent("gpu", "cpus:1;mem:100;gpus:1").agent("near", "cpus:1;mem:100").agent("small", "mem:31;cpus:0.009")
	d.want("a framework that knows nothing", "near to f as a: cpus:1; mem:100")
	d.SetFramework(Framework{ID: "f", Roles: []string{"a"}, GPU: true})
	d.want("that knows GPUs", "gpu to f as a: cpus:1; gpus:1; mem:100")
	d.SetFramework(Framework{ID: "f", Roles: []string{"a"}, RegionAware: true})
	d.want("that knows regions", "far to f as a: cpus:1; mem:100")
	d.SetFramework(Framework{ID: "f", Roles: []string{"a"}, Min: map[string]Min{"a": {{resource.Mem: 31000}}}})
	d.want("that is content with less", "small to f as a: cpus:0.009; mem:31")
}

func TestLimit(t *testing.T) {
	d := newDesk(t, Config{Tenants: []Tenant{{Path: "a", Limit: Bounds{resource.CPUs: 5000, resource.Mem: 1000_000}}}})
	d.framework("f", "a/x").framework("g", "z").agent("n1", "cpus:4;mem:100").agent("n2", "cpus:4;mem:100").agent("n3", "cpus:4;mem:100")
	d.want("f's agents are cut where the limit of the role above is", `n1 to f as a/x: cpus:4; mem:100
n2 to g as z: cpus:4; mem:100
n3 to f as a/x: cpus:1; mem:100
n3 to g as z: cpus:3`)
	d.RemoveLent("O1")
	d.want("and it is offered what comes back", "n1 to f as a/x: cpus:4; mem:100")
	for id := range d.made {
		d.RemoveLent(id)
	}
	d.Charge("", "a", object.Demand{CPUMilli: 4500}, 1)
	d.RemoveFramework("g")
	d.want("pods of the tenant count", "n1 to f as a/x: cpus:0.5; mem:100\nn2 to f as a/x: mem:100\nn3 to f as a/x: mem:100")
}

// TestGuarantee: a greedy role leaves what another is guaranteed, whether that one asks or not.
func TestGuarantee(t *testing.T) {
	cfg := Config{Tenants: []Tenant{{Path: "vip", Guarantee: Bounds{resource.CPUs: 5000, resource.Mem: 50_000}}}}
	d := newDesk(t, cfg).framework("greedy", "a").agent("n1", "cpus:4;mem:100").agent("n2", "cpus:4;mem:100")
	d.want("5 of 8 CPUs are vip's", "n1 to greedy as a: cpus:3; mem:100\nn2 to greedy as a: mem:50")
	d.framework("v", "vip")
	d.want("who is guaranteed gets it first", "n1 to v as vip: cpus:1\nn2 to v as vip: cpus:4; mem:50")
	d.RemoveLent("O4")
	d.Charge("", "vip", object.Demand{CPUMilli: 4000, MemoryBytes: 50 << 20}, 1)
	d.RemoveFramework("v")
	d.SetAgent(Agent{Node: "n2", Total: list(t, "cpus:4;mem:100"), Free: list(t, "mem:50")})
	d.SetAgent(Agent{Node: "n3", Total: list(t, "cpus:4;mem:100"), Free: list(t, "cpus:4;mem:100")})
	d.want("what it has is not held back again", "n3 to greedy as a: cpus:4; mem:100")
}

func TestOffersOfWhatIsTaken(t *testing.T) {
	d := newDesk(t, Config{}).framework("f", "a").agent("n1", "cpus:4;mem:100")
	d.cycle()
	total := list(t, "cpus:4;mem:100")
	if over := d.SetAgent(Agent{Node: "n1", Total: total, Free: list(t, "cpus:3;mem:100")}); !slices.Equal(over, []string{"O1"}) {
		t.Errorf("%v, want O1 rescinded", over)
	}
	d.RemoveLent("O1")
	d.want("what is left is offered", "n1 to f as a: cpus:3; mem:100")
	if lent := d.RemoveAgent("n1"); !slices.Equal(lent, []string{"O2"}) {
		t.Errorf("%v, want O2 rescinded", lent)
	}
}

func text(name, value string) *mesosv1.Attribute {
	return &mesosv1.Attribute{Name: &name, Type: mesosv1.Value_TEXT.Enum(), Text: &mesosv1.Value_Text{Value: &value}}
}

func attribute(name string, p *scheduler.AttributeConstraint_Predicate) *scheduler.AttributeConstraint {
	return &scheduler.AttributeConstraint{
		Selector:  &scheduler.AttributeConstraint_Selector{Selector: &scheduler.AttributeConstraint_Selector_AttributeName{AttributeName: name}},
		Predicate: p,
	}
}

func TestConstraints(t *testing.T) {
	equals := func(v string) *scheduler.AttributeConstraint_Predicate {
		return &scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_TextEquals_{TextEquals: &scheduler.AttributeConstraint_Predicate_TextEquals{Value: &v}}}
	}
	matches := func(v string) *scheduler.AttributeConstraint_Predicate {
		return &scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_TextMatches_{TextMatches: &scheduler.AttributeConstraint_Predicate_TextMatches{Regex: &v}}}
	}
	absent := &scheduler.AttributeConstraint_Predicate{Predicate: &scheduler.AttributeConstraint_Predicate_NotExists_{NotExists: &scheduler.AttributeConstraint_Predicate_NotExists{}}}
	agents := map[string]*Agent{
		"r1": {Attributes: []*mesosv1.Attribute{text("rack", "r1")}},
		"r2": {Attributes: []*mesosv1.Attribute{text("rack", "r2"), text("ssd", "yes")}},
		"r3": {Attributes: []*mesosv1.Attribute{{Name: text("rack", "").Name, Type: mesosv1.Value_SCALAR.Enum()}}},
		"no": {},
	}
	for _, c := range []struct {
		groups [][]*scheduler.AttributeConstraint
		want   string
	}{
		{[][]*scheduler.AttributeConstraint{{attribute("rack", equals("r1"))}}, "r1 r3"},
		{[][]*scheduler.AttributeConstraint{{attribute("rack", matches("r.")), attribute("ssd", equals("yes"))}}, "r2"},
		{[][]*scheduler.AttributeConstraint{{attribute("rack", equals("r1"))}, {attribute("rack", absent)}}, "no r1 r3"},
		{[][]*scheduler.AttributeConstraint{{attribute("rack", matches("r"))}}, "r3"}, // what is no text passes
	} {
		rc := &scheduler.OfferConstraints_RoleConstraints{}
		for _, g := range c.groups {
			rc.Groups = append(rc.Groups, &scheduler.OfferConstraints_RoleConstraints_Group{AttributeConstraints: g})
		}
		all, err := ConstraintsOf(&scheduler.OfferConstraints{RoleConstraints: map[string]*scheduler.OfferConstraints_RoleConstraints{"a": rc}})
		if err != nil {
			t.Fatal(err)
		}
		var fit []string
		for name, a := range agents {
			if all["a"].Fit(a) {
				fit = append(fit, name)
			}
		}
		slices.Sort(fit)
		if got := strings.Join(fit, " "); got != c.want {
			t.Errorf("%v fits %q, want %q", c.groups, got, c.want)
		}
	}
	for wrong, rc := range map[string]*scheduler.OfferConstraints_RoleConstraints{
		"groups: is empty": {},
		"regex":            {Groups: []*scheduler.OfferConstraints_RoleConstraints_Group{{AttributeConstraints: []*scheduler.AttributeConstraint{attribute("x", matches("("))}}}},
		"at most 4096":     {Groups: []*scheduler.OfferConstraints_RoleConstraints_Group{{AttributeConstraints: []*scheduler.AttributeConstraint{attribute("x", matches(strings.Repeat("a", 5000)))}}}},
	} {
		if _, err := ConstraintsOf(&scheduler.OfferConstraints{RoleConstraints: map[string]*scheduler.OfferConstraints_RoleConstraints{"a": rc}}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("error %v, want %q", err, wrong)
		}
	}
}

// fleet is agents, each with something taken, and frameworks, as in Mesos' benchmark DeclineOffers.
func fleet(t testing.TB, cfg Config, agents, frameworks int, role func(int) string) *desk {
	d := newDesk(t, cfg)
	for i := range frameworks {
		d.SetFramework(Framework{ID: fmt.Sprintf("f%04d", i), Roles: []string{role(i)}})
	}
	total, free := list(t, "cpus:24;mem:4096;disk:4096;ports:[31000-32000]"), list(t, "cpus:23;mem:3996;disk:4096;ports:[31001-32000]")
	for i := range agents {
		d.SetAgent(Agent{Node: fmt.Sprintf("n%05d", i), ID: fmt.Sprintf("S%d", i), Total: total, Free: free})
	}
	return d
}

func BenchmarkDeclineOffers(b *testing.B) {
	for _, shape := range []struct{ agents, frameworks int }{{1000, 1}, {1000, 1000}, {10_000, 1000}, {10_000, 3000}, {50_000, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", shape.agents, shape.frameworks), func(b *testing.B) {
			d := fleet(b, Config{}, shape.agents, shape.frameworks, func(int) string { return "*" })
			offers := 0
			var refused []string
			lend := func(m Made) string {
				offers++
				id := fmt.Sprint(offers)
				d.made[id] = Lent{ID: id, Framework: m.Framework, Role: m.Role, Node: m.Agent.Node, List: m.List}
				return id
			}
			for b.Loop() {
				offers = 0
				d.Cycle(true, 1<<30, lend)
				if offers != shape.agents {
					b.Fatalf("%d offers", offers)
				}
				b.StopTimer()
				for id, l := range d.made {
					d.RemoveLent(id)
					l.ID, l.Refused = fmt.Sprint("refused", len(refused)), true
					d.SetLent(l)
					refused = append(refused, l.ID)
					delete(d.made, id)
				}
				if len(refused) >= 3*shape.agents || shape.frameworks == 1 {
					for _, id := range refused {
						d.RemoveLent(id)
					}
					refused = nil
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkEmptyCycle: 3,000 roles with limits that are reached and guarantees that are met, each
// with a framework, and nothing for anybody.
func BenchmarkEmptyCycle(b *testing.B) {
	const n = 3000
	cfg := Config{}
	for i := range n {
		q := Bounds{resource.CPUs: 1000, resource.Mem: 100_000}
		cfg.Tenants = append(cfg.Tenants, Tenant{Path: fmt.Sprintf("r%04d", i), Guarantee: q, Limit: q})
	}
	d := fleet(b, cfg, n, n, func(i int) string { return fmt.Sprintf("r%04d", i) })
	for i := range n {
		d.Charge("", fmt.Sprintf("r%04d", i), object.Demand{CPUMilli: 1000, MemoryBytes: 100 << 20}, 1)
	}
	for b.Loop() {
		d.Look()
		d.Cycle(true, 1<<30, func(Made) string { b.Fatal("an offer"); return "" })
	}
}
