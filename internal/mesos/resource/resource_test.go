package resource

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	mesosv1 "trireme/internal/mesos/v1"
)

func list(t testing.TB, text string) List {
	t.Helper()
	l, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestText(t *testing.T) {
	for _, c := range []struct{ in, out, wrong string }{
		{in: "cpus(ads):8;mem:1024;ports:[31000-32000]", out: "cpus(ads):8; mem:1024; ports:[31000-32000]"},
		{in: "mem:1; cpus:0.1; cpus:0.2", out: "cpus:0.3; mem:1"},
		{in: "cpus(*):1.0005;bugs:{b,a}", out: "cpus:1.001; bugs:{a, b}"},
		{in: "ports:[3-4, 1-2,8-9]", out: "ports:[1-4, 8-9]"},
		{in: "", out: ""},
		{in: "cpus:0", out: ""},
		{in: "cpus", wrong: "NAME:VALUE"},
		{in: "cpus:-1", wrong: "negative"},
		{in: "cpus:NaN", wrong: "not a number"},
		{in: "cpus:1e308", wrong: "out of range"},
		{in: "cpus:[1-2]", wrong: "cpus is a scalar"},
		{in: "ports:[1-65536]", wrong: "65536"},
		{in: "ports:[5-1]", wrong: "ends before it begins"},
		{in: "ports:[1-5,5-6]", wrong: "overlap"},
		{in: "gpus:0.5", wrong: "whole"},
		{in: "cpus(a b):1", wrong: "white space"},
		{in: "cpus(../x):1", wrong: "empty, . or .."},
		{in: "x:{a,a}", wrong: "twice"},
	} {
		l, err := Parse(c.in)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q: error %v, want one of %q", c.in, err, c.wrong)
			}
			continue
		}
		if err != nil || l.String() != c.out {
			t.Errorf("%q is %q (%v), want %q", c.in, l, err, c.out)
		}
	}
}

func TestAlgebra(t *testing.T) {
	for _, c := range []struct{ a, b, plus, minus string }{
		{"cpus:3;mem:10", "cpus:1.5", "cpus:4.5; mem:10", "cpus:1.5; mem:10"},
		{"cpus:1", "cpus(r):1", "cpus:1; cpus(r):1", "cpus:1"},
		{"ports:[1-10]", "ports:[3-4,10-10]", "ports:[1-10]", "ports:[1-2, 5-9]"},
		{"ports:[1-10]", "ports:[11-12]", "ports:[1-12]", "ports:[1-10]"},
		{"x:{a,b}", "x:{b,c}", "x:{a, b, c}", "x:{a}"},
		{"cpus:1", "cpus:1", "cpus:2", ""},
		{"cpus:1", "cpus:2", "cpus:3", ""},
	} {
		a, b := list(t, c.a), list(t, c.b)
		if got := a.Plus(b).String(); got != c.plus {
			t.Errorf("%s + %s = %s, want %s", a, b, got, c.plus)
		}
		if got := a.Minus(b).String(); got != c.minus {
			t.Errorf("%s - %s = %s, want %s", a, b, got, c.minus)
		}
		if !a.Plus(b).Contains(b) || a.String() != list(t, c.a).String() {
			t.Errorf("%s + %s does not have %s, or changed its operand", a, b, b)
		}
	}
	l := list(t, "cpus:1;mem:10;ports:[1-10]")
	for text, want := range map[string]bool{
		"cpus:1;mem:10": true, "cpus:1.001": false, "ports:[2-3,5-10]": true, "ports:[10-11]": false, "cpus(r):1": false, "disk:1": false, "": true,
	} {
		if l.Contains(list(t, text)) != want {
			t.Errorf("%s has %s: %v", l, text, !want)
		}
	}
	if !l.Contains(List{}) || l.Contains(List{Of(CPUs, 600), Of(CPUs, 600)}) {
		t.Error("what is asked for twice counts once")
	}
}

func TestReservations(t *testing.T) {
	l := list(t, "cpus:4;mem:100")
	r := l.Reserve(Reservation{Dynamic: true, Role: "eng", Principal: "ops"})
	refined := r.Reserve(Reservation{Dynamic: true, Role: "eng/dev"})
	if got := refined[0].String(); got != "cpus(reservations: [(DYNAMIC,eng,ops),(DYNAMIC,eng/dev)]):4" {
		t.Error(got)
	}
	if !refined.Unreserve().Equal(r) || !r.Unreserve().Equal(l) {
		t.Error("to take a reservation back is not the inverse of making it")
	}
	for role, want := range map[string]int{"eng": 0, "eng/dev": 2, "eng/dev/x": 2, "eng/develop": 0, "*": 0} {
		if got := len(refined.For(role)); got != want {
			t.Errorf("%s may have %d of what is reserved for eng/dev, want %d", role, got, want)
		}
	}
	a := l.Reserve(Reservation{Dynamic: true, Role: "eng", Labels: "a"})
	if both := a.Plus(r); len(both) != 4 {
		t.Errorf("reservations of other labels merged: %s", both)
	}
	bad := l.Reserve(Reservation{Dynamic: true, Role: "eng"}).Reserve(Reservation{Dynamic: true, Role: "ops"})
	if err := bad.Check("resources"); err == nil || !strings.Contains(err.Error(), `resources[0] (cpus): reservations[1].role: "ops" is not below "eng"`) {
		t.Error(err)
	}
}

func disk(id string, mb int64, shared bool) Resource {
	r := Resource{Name: Disk, Scalar: mb * Thousand, Shared: shared, Reservations: []Reservation{{Dynamic: true, Role: "r"}}}
	if id != "" {
		r.Volume = &Volume{ID: id, ContainerPath: "data"}
	}
	return r
}

func TestVolumes(t *testing.T) {
	v, w := List{disk("v", 10, false)}, List{disk("w", 10, false)}
	both := v.Plus(w)
	if len(both) != 2 || !both.Minus(v).Equal(w) || both.Contains(List{disk("v", 5, false)}) {
		t.Errorf("volumes are taken whole: %s", both)
	}
	s := List{disk("s", 10, true)}
	if got := s.Plus(s); !got.Equal(s) {
		t.Errorf("what is shared is there once: %s", got)
	}
	if got := s.Minus(s); !got.Equal(s) || !got.Contains(List{s[0], s[0]}) {
		t.Errorf("what is shared is not used up: %s", got)
	}
	for wrong, r := range map[string]Resource{
		"only reserved disk": {Name: Disk, Scalar: 1, Volume: &Volume{ID: "v", ContainerPath: "x"}},
		"stay in the sandbox": func() Resource {
			r := disk("v", 1, false)
			r.Volume.ContainerPath = "a/../../b"
			return r
		}(),
		"has a control character":     func() Resource { r := disk("a/b", 1, false); return r }(),
		"only persistent volumes":     {Name: CPUs, Scalar: 1, Shared: true},
		"neither reserved nor hold":   {Name: CPUs, Scalar: 1, Revocable: true, Reservations: []Reservation{{Role: "r"}}},
		"cannot be reserved for *":    {Name: CPUs, Scalar: 1, Reservations: []Reservation{{Role: "*"}}},
		"only resources of the name":  {Name: Mem, Scalar: 1, Volume: &Volume{Source: Source{Kind: MountDisk}}},
		"volume \"v\" is there twice": disk("v", 1, false),
	} {
		if err := (List{r, disk("v", 1, false)}).Check("volumes"); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: error %v, want %q", r, err, wrong)
		}
	}
}

func scalar(name string, v float64) *mesosv1.Resource {
	return &mesosv1.Resource{Name: &name, Type: mesosv1.Value_SCALAR.Enum(), Scalar: &mesosv1.Value_Scalar{Value: &v}}
}

func TestMessages(t *testing.T) {
	l := list(t, "cpus:1.5;mem(ads):10;ports:[1-2,5-6];x:{a,b}").Plus(List{disk("v", 3, true)}).AllocatedTo("r")
	for _, refinement := range []bool{false, true} {
		back, err := From("resources", l.Messages(refinement))
		if err != nil || !back.Equal(l) {
			t.Errorf("refinement %v: %s came back as %s: %v", refinement, l, back, err)
		}
	}
	refined := list(t, "cpus:1").Reserve(Reservation{Role: "a"}).Reserve(Reservation{Dynamic: true, Role: "a/b", Principal: "p", Labels: "k" + valueSep + "v"})
	if back, err := From("resources", refined.Messages(true)); err != nil || !back.Equal(refined) {
		t.Errorf("%s came back as %s: %v", refined, back, err)
	}
	both := scalar("cpus", 1)
	both.Role = proto.String("a")
	both.Reservations = []*mesosv1.Resource_ReservationInfo{{Type: mesosv1.Resource_ReservationInfo_STATIC.Enum(), Role: proto.String("a")}}
	for wrong, m := range map[string]*mesosv1.Resource{
		"resources[0] (cpus): scalar.value: -1 is negative":       scalar("cpus", -1),
		"resources[0] (cpus): scalar.value: is not a number":      scalar("cpus", math.NaN()),
		"resources[0] (mem): scalar.value: 1e+308 is out":         scalar("mem", 1e308),
		"resources[0] (mem): scalar.value: +Inf is out":           scalar("mem", math.Inf(1)),
		"resources[0] (cpus): role: cannot stand beside":          both,
		"resources[0] (cpus): scalar: is missing for type SCALAR": {Name: proto.String("cpus"), Type: mesosv1.Value_SCALAR.Enum()},
		"resources[0] (gpus): scalar.value: 0.5 GPUs":             scalar("gpus", 0.5),
		"resources[0] (): name: is empty":                         scalar("", 1),
	} {
		if _, err := From("resources", []*mesosv1.Resource{m}); err == nil || !strings.HasPrefix(err.Error(), wrong) {
			t.Errorf("error %v, want %q", err, wrong)
		}
	}
}

func TestPods(t *testing.T) {
	l := list(t, "cpus:0.25;mem(ads):32.5;disk:10;gpus:2;example.com/fpga:3;bandwidth:1.5;ports:[1-2]").Plus(List{disk("v", 100, false)})
	req, err := l.Requests()
	if err != nil {
		t.Fatal(err)
	}
	got := map[corev1.ResourceName]string{}
	for name, q := range req {
		got[name] = q.String()
	}
	want := map[corev1.ResourceName]string{
		"cpu": "250m", "memory": "33280Ki", "ephemeral-storage": "10Mi", "nvidia.com/gpu": "2", "example.com/fpga": "3", "scalar.mesos.trireme.dev/bandwidth": "1500",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if back := Capacity(req).String(); back != "cpus:0.25; gpus:2; mem:32.5; disk:10; bandwidth:1.5; example.com/fpga:3" {
		t.Error(back)
	}
	if Bytes(1) != 1049 || Megabytes(1049) != 1 || Megabytes(1048) != 0 {
		t.Error("who asks for a thousandth of a MB gets less than it, or who gives it gives more")
	}
	if _, err := list(t, "example.com/fpga:0.5").Requests(); err == nil || !strings.Contains(err.Error(), "example.com/fpga: scalar.value") {
		t.Error(err)
	}
}

func TestAttributes(t *testing.T) {
	all, err := Attributes("rack:abc;level:10;keys:[1000-1500]")
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	if all[0].GetText().GetValue() != "abc" || all[1].GetScalar().GetValue() != 10 || all[2].GetRanges().GetRange()[0].GetEnd() != 1500 {
		t.Error(all)
	}
	for _, bad := range []string{"rack", "rack:", "keys:[5-1]", "set:{a}"} {
		if _, err := Attributes(bad); err == nil {
			t.Errorf("%q is an attribute", bad)
		}
	}
}

// FuzzParse holds the text form to: what is read is written as what reads alike.
func FuzzParse(f *testing.F) {
	f.Add("cpus(ads):8;mem:1024;ports:[31000-32000]")
	f.Add("x:{a,b};cpus:0.0004")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(l.String())
		if err != nil || !again.Equal(l) {
			t.Fatalf("%q was written %q, which reads %q: %v", text, l, again, err)
		}
		if !l.Contains(l) || len(l.Minus(l)) != 0 || !l.Plus(l).Minus(l).Contains(List{}) {
			t.Fatalf("%q: the algebra does not hold", text)
		}
	})
}
