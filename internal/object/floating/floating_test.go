package floating

import (
	"net/netip"
	"testing"
)

func TestDefinitions(t *testing.T) {
	all, err := Definitions()
	if err != nil || len(all) != 2 {
		t.Fatalf("%d definitions: %v", len(all), err)
	}
}

func TestRanges(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.9/28": "192.0.2.0-192.0.2.15", "192.0.2.7/32": "192.0.2.7-192.0.2.7", "0.0.0.0/0": "0.0.0.0-255.255.255.255",
		"192.0.2.5-192.0.2.9": "192.0.2.5-192.0.2.9", "192.0.2.5 - 192.0.2.5": "192.0.2.5-192.0.2.5",
		"2001:db8::8/125": "2001:db8::8-2001:db8::f", "2001:db8::/64": "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff", // RFC 4291, 2.6.1: the first is every router's
		"2001:db8::5-2001:db8::1:0": "2001:db8::5-2001:db8::1:0", "2001:db8::5-192.0.2.9": "", "::ffff:192.0.2.0/124": "", "fe80::1%a-fe80::2": "",
		"192.0.2.9-192.0.2.5": "", "192.0.2.5": "", "2001:db8::": "", "192.0.2.300/28": "", "192.0.2.0/33": "", "": "", "-": "",
	} {
		p := &Pool{Spec: PoolSpec{Addresses: []string{in}}}
		got := ""
		if r, err := p.Ranges(); err == nil {
			got = r[0].First.String() + "-" + r[0].Last.String()
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]struct {
		size uint64
		last string // that At names
	}{
		"192.0.2.8/29": {8, "192.0.2.15"}, "0.0.0.0/0": {1 << 32, "255.255.255.255"}, "2001:db8::8/125": {8, "2001:db8::f"},
		"2001:db8::ffff:ffff:ffff:fff0-2001:db8:0:1::f": {32, "2001:db8:0:1::f"}, "2001:db8::/32": {1 << 32, "2001:db8::1:0:0"},
	} {
		p := &Pool{Spec: PoolSpec{Addresses: []string{in}}}
		r, err := p.Ranges()
		if err != nil {
			t.Fatal(err)
		}
		if size := r[0].Size(); size != want.size || r[0].At(size-1).String() != want.last {
			t.Errorf("%q has %d addresses up to %s, want %d up to %s", in, size, r[0].At(size-1), want.size, want.last)
		}
	}
	r := Range{netip.MustParseAddr("10.1.0.0"), netip.MustParseAddr("10.1.0.9")}
	for n, want := range map[string]bool{"10.0.0.0/8": true, "10.1.0.4/32": true, "10.1.0.0/30": true, "10.1.0.16/28": false, "10.96.0.0/12": false} {
		if got := r.Overlaps(netip.MustParsePrefix(n)); got != want {
			t.Errorf("overlap with %s: %v", n, got)
		}
	}
}
