package test

import (
	"strings"
	"testing"

	"trireme/test/cluster"
)

// spans: tasks of two services on two machines reach each other over an overlay network, by name and by
// virtual address, from either side.
func (d *docker) spans(t *testing.T, hosts []*cluster.Host) {
	d = newDocker(t, d.h)
	t.Cleanup(func() {
		d.quietly("service", "rm", "dnear", "dfar")
		d.quietly("network", "rm", "dspan")
	})
	d.must("network", "create", "--driver", "overlay", "dspan")
	for i, name := range []string{"dnear", "dfar"} {
		d.must("service", "create", "--name", name, "--detach", "--no-resolve-image", "--network", "dspan", "--constraint", "node.hostname=="+hosts[i].Name, "--stop-grace-period", "1s",
			busybox, "sh", "-c", "mkdir /www && echo at "+name+" >/www/index.html && exec httpd -f -p 80 -h /www")
	}
	for from, to := range map[string]string{"dnear": "dfar", "dfar": "dnear"} {
		d.says(from+" 1/1", "service", "ls", "--filter", "name="+from, "--format", "{{.Name}} {{.Replicas}}")
		id := d.must("ps", "-q", "--filter", "label=com.docker.swarm.service.name="+from)
		vip := strings.Split(d.must("service", "inspect", to, "--format", "{{(index .Endpoint.VirtualIPs 0).Addr}}"), "/")[0]
		d.says(vip, "exec", id, "nslookup", "-type=a", to+".default.svc.cluster.local")
		for _, at := range []string{vip, "$(nslookup -type=a tasks." + to + ".default.svc.cluster.local | awk '/^Name/ {n = 1} n && /^Address/ {print $NF}')"} {
			d.says("at "+to, "exec", id, "sh", "-c", "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 "+at+" 80 | tail -1")
		}
	}
}
