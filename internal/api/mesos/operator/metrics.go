package operator

import (
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"

	mesosres "trireme/internal/mesos/resource"
	mesosv1 "trireme/internal/mesos/v1"
)

// metrics are Mesos' numbers by its names: what the tables tell of the cluster, what
// the machine tells of itself, and what Config.Metrics has. Tasks that have ended are
// counted as long as they are kept.
func (v *view) metrics() map[string]float64 {
	m := map[string]float64{
		"master/elected": flag(v.cfg.Leader() != nil), "master/uptime_secs": v.cfg.Now().Sub(v.cfg.Started).Seconds(),
		"registrar/log/recovered": 1, "system/cpus_total": float64(runtime.NumCPU()),
	}
	for _, state := range counted {
		m["master/tasks_"+strings.ToLower(strings.TrimPrefix(state.String(), "TASK_"))] = 0
	}
	for _, name := range []string{"slaves_active", "slaves_inactive", "slaves_connected", "slaves_disconnected", "slaves_unreachable", "frameworks_active", "frameworks_inactive",
		"frameworks_connected", "frameworks_disconnected", "outstanding_offers"} {
		m["master/"+name] = 0
	}
	v.countAgents(m)
	v.countFrameworks(m)
	machine(m)
	if v.cfg.Metrics != nil {
		maps.Copy(m, v.cfg.Metrics())
	}
	return m
}

func (v *view) countAgents(m map[string]float64) {
	var total, used, offered mesosres.List
	for _, a := range v.agents {
		switch {
		case a.Spec.Gone:
			continue
		case !a.reachable():
			m["master/slaves_unreachable"]++
			m["master/slaves_disconnected"]++
			continue
		case a.active():
			m["master/slaves_active"]++
		default:
			m["master/slaves_inactive"]++
		}
		m["master/slaves_connected"]++
		total, used, offered = total.Plus(a.total), used.Plus(plain(a.used)), offered.Plus(plain(a.offered))
	}
	for _, name := range []string{mesosres.CPUs, mesosres.Mem, mesosres.Disk, mesosres.GPUs} {
		has, takes := mesosres.Number(total.Scalar(name)), mesosres.Number(used.Scalar(name))
		m["master/"+name+"_total"], m["master/"+name+"_used"], m["master/"+name+"_percent"] = has, takes, 0
		if has > 0 {
			m["master/"+name+"_percent"] = takes / has
		}
		m["allocator/mesos/resources/"+name+"/total"] = has
		m["allocator/mesos/resources/"+name+"/offered_or_allocated"] = takes + mesosres.Number(offered.Scalar(name))
	}
	for _, r := range v.roles() {
		share := 0.0
		for _, name := range []string{mesosres.CPUs, mesosres.Mem, mesosres.Disk, mesosres.GPUs} {
			if n := total.Scalar(name); n > 0 {
				share = max(share, float64(r.used.Scalar(name)+r.offered.Scalar(name))/float64(n))
			}
		}
		m["allocator/mesos/roles/"+r.name+"/shares/dominant"] = share
		m["allocator/mesos/offer_filters/roles/"+r.name+"/active"] = float64(v.filters[r.name])
	}
	for role, q := range v.quotas() {
		for name, n := range q.Guarantees {
			m["allocator/mesos/quota/roles/"+role+"/resources/"+name+"/guarantee"] = n.GetValue()
		}
		for name, n := range q.Limits {
			m["allocator/mesos/quota/roles/"+role+"/resources/"+name+"/limit"] = n.GetValue()
		}
	}
}

var counted = append([]mesosv1.TaskState{
	mesosv1.TaskState_TASK_DROPPED, mesosv1.TaskState_TASK_GONE, mesosv1.TaskState_TASK_GONE_BY_OPERATOR,
}, summed...)

func (v *view) countFrameworks(m map[string]float64) {
	for _, f := range v.frameworks {
		for _, t := range f.tasks {
			m["master/tasks_"+strings.ToLower(strings.TrimPrefix(t.State.String(), "TASK_"))]++
		}
		if f.Status.Removed != nil {
			continue
		}
		m["master/outstanding_offers"] += float64(len(f.offers))
		if f.Status.Connected {
			m["master/frameworks_active"]++
			m["master/frameworks_connected"]++
		} else {
			m["master/frameworks_inactive"]++
			m["master/frameworks_disconnected"]++
		}
	}
}

// machine adds the machine's load and memory, where its kernel tells them.
func machine(m map[string]float64) {
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		for i, word := range strings.Fields(string(text)) {
			if load, err := strconv.ParseFloat(word, 64); err == nil && i < 3 {
				m["system/load_"+[]string{"1", "5", "15"}[i]+"min"] = load
			}
		}
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		words := strings.Fields(line)
		name := map[string]string{"MemTotal:": "total", "MemFree:": "free"}[strings.Join(words[:min(1, len(words))], "")]
		if name == "" || len(words) < 2 {
			continue
		}
		if kib, err := strconv.ParseFloat(words[1], 64); err == nil {
			m["system/mem_"+name+"_bytes"] = kib * 1024
		}
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
