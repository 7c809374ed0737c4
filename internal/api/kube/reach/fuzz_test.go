package reach

import (
	"net/netip"
	"net/url"
	"testing"
)

// FuzzTarget: whatever the name of a proxied request, and whatever address a status
// claims, the URL is of that address, and never of this machine.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"web", "https:web:443", "http:web:http", "::", "a:b:c:d", "[::1]:80"} {
		f.Add(s, "10.0.0.1")
	}
	f.Add("web:80", "127.0.0.1")
	f.Add("web:80@evil", "::1")
	f.Fuzz(func(t *testing.T, id, ip string) {
		target, err := parse(id, "pod")
		if err != nil {
			return
		}
		u, err := target.url(ip, target.port)
		if err != nil {
			return
		}
		again, err := url.Parse(u.String())
		if err != nil {
			return // the transport refuses it too
		}
		if a, err := netip.ParseAddr(again.Hostname()); err != nil || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
			t.Errorf("%q at %q goes to %s", id, ip, u)
		}
	})
}
