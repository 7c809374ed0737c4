package marathon

import "testing"

// FuzzParse: whatever a client sends is a definition that makes a pod, or a problem.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"id": "/a", "cmd": "true", "ports": [0], "uris": ["x"], "ipAddress": {"discovery": {"ports": [{"number": 1}]}}}`,
		`{"id": "a", "args": ["x"], "container": {"docker": {"image": "i", "network": "BRIDGE", "portMappings": [{}], "parameters": [{"key": "ulimit", "value": "nofile=1:2"}]}, "volumes": [{"containerPath": "d", "mode": "RW", "persistent": {"size": 1}}]}}`,
		`{"id": "/a", "cmd": "x", "constraints": [["hostname", "CLUSTER"]], "healthChecks": [{"command": {"value": "x"}}], "readinessChecks": [{"portName": "default"}], "resourceLimits": {"cpus": "unlimited", "mem": 1e3}, "labels": {"HAPROXY_GROUP": "x", "HAPROXY_0_VHOST": "a,b", "AS_TRIGGER_MODE": "cpu", "AS_MAX_RANGE": "80", "AS_MAX_INSTANCES": "3"}}`,
		`{"id": "/p", "containers": [{"name": "a", "exec": {"command": {"argv": ["x"]}}, "endpoints": [{"name": "h", "hostPort": 0}], "healthCheck": {"tcp": {"endpoint": "h"}}, "volumeMounts": [{"name": "v", "mountPath": "m"}]}], "volumes": [{"name": "v"}], "networks": [{"mode": "host"}], "scheduling": {"placement": {"constraints": [{"fieldName": "x", "operator": "UNIQUE"}]}}}`,
		`{"id": "/a", "unreachableStrategy": "disabled", "env": {"A": {"secret": "s"}}, "secrets": {"s": {"source": "x/y"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, read := range []func(map[string]any, string) (*Definition, error){Parse, ParsePod} {
			tree, err := Fields(body)
			if err != nil {
				return
			}
			d, err := read(tree, "/g")
			if err != nil || d.Validate() != nil {
				continue
			}
			again := *d
			again.complete()
			if _, err := again.Template(); err != nil || again.Generation() != d.Generation() {
				t.Errorf("%s: what is complete and valid is not after it was completed again: %v", body, err)
			}
			d.Balanced()
			d.VirtualHosts("s")
		}
	})
}
