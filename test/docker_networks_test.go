package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// netStack is two services on a stack's own network, one of them on another network too.
const netStack = `
services:
  web:
    image: trireme.local/busybox:1
    command: ["sh", "-c", "mkdir /www && hostname > /www/index.html && httpd -p 80 -h /www && httpd -f -p 81 -h /www"]
    stop_grace_period: 1s
    networks: {default: {aliases: [shop]}, outer: {}}
    ports: ["PORT:80"]
    deploy: {replicas: 2}
  ask:
    image: trireme.local/busybox:1
    command: ["sleep", "1000"]
    stop_grace_period: 1s
networks: {outer: {external: true, name: netouter}}
`

// TestDockerNetworks: services reach each other by name, alias and address where they share
// a network, on any port, and do not where they share none.
func TestDockerNetworks(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	t.Cleanup(func() {
		for _, args := range [][]string{{"service", "rm", "netask", "netrr"}, {"stack", "rm", "neta", "netb"}, {"network", "rm", "netouter", "netlone"}} {
			d.quietly(args...)
		}
	})
	d.must("network", "create", "--driver", "overlay", "--attachable", "--subnet", "10.77.0.0/16", "--label", "a=b", "--opt", "com.docker.network.driver.mtu=1300", "netouter")
	if out := d.must("network", "inspect", "netouter", "--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.Attachable}} {{(index .IPAM.Config 0).Subnet}} {{.Labels.a}}"); out != "netouter overlay swarm true 10.77.0.0/16 b" {
		t.Errorf("docker network inspect: %s", out)
	}
	d.refused("network with name netouter already exists", "network", "create", "--driver", "overlay", "netouter")
	d.refused("predefined bridge network", "network", "create", "bridge")
	d.refused("pre-defined network", "network", "rm", "bridge")
	d.refused("Driver is overlay or bridge", "network", "create", "--driver", "macvlan", "other")
	d.refused("does not encrypt", "network", "create", "--driver", "overlay", "--opt", "encrypted", "other")
	d.refused("network nothing not found", "service", "create", "--detach", "--no-resolve-image", "--name", "other", "--network", "nothing", busybox)
	d.refused("cannot be explicitly attached to the ingress network", "service", "create", "--detach", "--no-resolve-image", "--name", "other", "--network", "ingress", busybox)

	for name, port := range map[string]string{"neta": "8291", "netb": "8292"} {
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(netStack, "PORT", port)), 0o600); err != nil {
			t.Fatal(err)
		}
		d.must("stack", "deploy", "--detach=true", "--resolve-image", "never", "-c", file, name)
	}
	d.must("service", "create", "--detach", "--no-resolve-image", "--name", "netask", "--network", "netouter", "--stop-grace-period", "1s", busybox, "sleep", "1000")
	d.must("service", "create", "--detach", "--no-resolve-image", "--name", "netrr", "--network", "netouter", "--endpoint-mode", "dnsrr", "--replicas", "2", "--stop-grace-period", "1s", busybox, "sleep", "1000")
	for _, s := range []string{"neta_web 2/2", "netb_web 2/2", "neta_ask 1/1", "netb_ask 1/1", "netask 1/1", "netrr 2/2"} {
		name, _, _ := strings.Cut(s, " ")
		d.says(s, "service", "ls", "--filter", "name="+name, "--format", "{{.Name}} {{.Replicas}}")
	}
	pod := func(ns, service string) string {
		return k.must("-n", ns, "get", "pods", "-l", "swarm.trireme.dev/service="+service, "-o", "jsonpath={.items[0].metadata.name}")
	}
	in := func(ns, service, script string) (string, error) {
		// The machine's own busybox has no wget that works, and looks names up with nslookup alone.
		at := "at() { nslookup -type=a $1." + ns + ".svc.cluster.local | awk '/^Name/ {n = 1} n && /^Address/ {print $NF}'; }; " +
			"get() { printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $1 $2 | tail -1; }; "
		return k.run(t.Context(), "", "-n", ns, "exec", pod(ns, service), "--", "sh", "-c", at+script)
	}
	hears := func(ns, service, script, want string) {
		t.Helper()
		await(t, h, 10*time.Second, ns+"/"+service+": "+script, func() error {
			if out, err := in(ns, service, script); err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("%w: %v: %s, want %s", errNotYet, err, out, want)
			}
			return nil
		})
	}
	vip := d.must("service", "inspect", "neta_web", "--format", "{{range .Endpoint.VirtualIPs}}{{.Addr}} {{end}}")
	if n := len(strings.Fields(vip)); n != 3 || !strings.Contains(vip, "/20") || !strings.Contains(vip, "10.77.") {
		t.Errorf("virtual addresses of neta_web: %s", vip)
	}
	for _, name := range []string{"web", "neta_web", "shop", "tasks.web"} {
		hears("neta", "ask", "get $(at "+name+" | head -1) 80", "web-")
		hears("neta", "ask", "get $(at "+name+" | tail -1) 81", "web-")
	}
	hears("neta", "ask", "a=$(at web); for i in $(seq 20); do get $a 80; done | sort -u | wc -l", "2")
	hears("neta", "web", "a=$(at web); for i in $(seq 8); do get $a 81; done | wc -l", "8") // itself among them
	hears("default", "netask", "get $(at neta_web) 80", "web-")
	hears("default", "netask", "get $(at netb_web) 80", "web-")
	hears("default", "netask", "at netrr | grep -c 10.77", "2")
	if out := d.must("network", "inspect", "--verbose", "netouter", "--format", "{{range $name, $s := .Services}}{{$name}}:{{len $s.Tasks}} {{end}}"); out != "neta_web:2 netask:1 netb_web:2 netrr:2" {
		t.Errorf("services on netouter: %s", out)
	}
	// Nothing of another stack's network is known or reached.
	addr := d.must("service", "inspect", "netb_ask", "--format", "{{(index .Endpoint.VirtualIPs 0).Addr}}")
	eth0 := k.must("-n", "netb", "get", "pod", pod("netb", "web"), "-o", "jsonpath={.status.podIP}")
	addr, _, _ = strings.Cut(addr, "/")
	for _, script := range []string{"at netb_ask | grep .", "at netask | grep .", "ping -c 1 -W 1 " + addr, "get " + eth0 + " 81 | grep web-"} {
		if out, err := in("neta", "ask", script); err == nil {
			t.Errorf("a task of another stack: %s: %s", script, out)
		}
	}
	for _, port := range []string{"8291", "8292"} {
		await(t, h, 10*time.Second, "the published port answers", func() error {
			_, err := curl(t.Context(), h, "http://"+h.Address+":"+port)
			return err
		})
		hears("neta", "ask", "get "+h.Address+" "+port, "web-") // as whoever is outside
	}
	d.refused("is in use by service", "network", "rm", "netouter")
	d.must("service", "update", "--detach", "--network-rm", "netouter", "netrr")
	d.must("stack", "rm", "--detach=true", "netb")
	hears("neta", "ask", "get $(at web) 80", "web-")
}
