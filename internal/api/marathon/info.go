package marathon

import (
	"net/http"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/object/marathon"
	"trireme/internal/tables"
)

const mergePatch = types.MergePatchType

var leaderRoutes = route{"GET": showLeader, "DELETE": abdicate}

// version is the release of Marathon whose API is spoken.
const version = "1.11.0"

func showLeader(c *call) (any, error) { return map[string]any{"leader": c.door.cfg.Address}, nil }

// abdicate is refused: who leads is the log's affair.
func abdicate(*call) (any, error) {
	return nil, failure{http.StatusForbidden, message{Message: "this manager leads as long as it has the log: stop its process to have another lead"}}
}

func showInfo(c *call) (any, error) {
	host, text, _ := strings.Cut(c.door.cfg.Address, ":")
	port, err := strconv.Atoi(text)
	if err != nil {
		port = 0
	}
	return map[string]any{
		"name": "marathon", "version": version, "buildref": "trireme " + c.door.cfg.Version, "elected": true, "leader": c.door.cfg.Address,
		"frameworkId": "trireme-marathon",
		"marathon_config": map[string]any{
			"hostname": host, "framework_name": "marathon", "checkpoint": true, "failover_timeout": 604800, "ha": true,
			"local_port_min": marathon.ServicePortMin, "local_port_max": marathon.ServicePortMax, "mesos_role": "*", "new_group_enforce_role": "off",
			"task_launch_timeout": 300000, "task_reservation_timeout": 20000, "executor": "//cmd", "features": []string{"secrets", "task_killing"},
		},
		"zookeeper_config": map[string]any{}, "http_config": map[string]any{"http_port": port, "https_port": nil},
	}, nil
}

func listPlugins(*call) (any, error) { return map[string]any{"plugins": []any{}}, nil }

func help(*call) (any, error) {
	return answer{code: http.StatusOK, body: "Marathon's API on Trireme: docs/marathon.md says what it serves.\n", text: true}, nil
}

func showLogging(*call) (any, error) { return map[string]string{"ROOT": "info"}, nil }

// showMetrics counts what the door knows.
func showMetrics(c *call) (any, error) {
	apps, tasks, deployments := 0, map[string]int{}, 0
	for a := range tables.MarathonApps(c.snap) {
		apps++
		for _, t := range c.tasksOf(a) {
			tasks[t.State]++
		}
	}
	for range tables.MarathonDeployments(c.snap) {
		deployments++
	}
	gauges := map[string]any{
		"marathon.apps.active.gauge": apps, "marathon.deployments.active.gauge": deployments,
		"marathon.instances.running.gauge": tasks["TASK_RUNNING"], "marathon.instances.staged.gauge": tasks["TASK_STAGING"],
	}
	if len(c.path) == 1 && c.path[0] == "prometheus" {
		var b strings.Builder
		for _, name := range []string{"marathon.apps.active.gauge", "marathon.deployments.active.gauge", "marathon.instances.running.gauge", "marathon.instances.staged.gauge"} {
			n, _ := gauges[name].(int)
			under := strings.ReplaceAll(strings.TrimSuffix(name, ".gauge"), ".", "_")
			b.WriteString("# TYPE " + under + " gauge\n" + under + " " + strconv.Itoa(n) + "\n")
		}
		return answer{code: http.StatusOK, body: b.String(), text: true}, nil
	}
	out := map[string]any{}
	for name, n := range gauges {
		out[name] = map[string]any{"value": n}
	}
	return map[string]any{"version": "4.0.0", "gauges": out, "counters": map[string]any{}, "histograms": map[string]any{}, "meters": map[string]any{}, "timers": map[string]any{}}, nil
}
