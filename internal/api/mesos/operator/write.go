package operator

import (
	"encoding/json"
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

	"trireme/internal/api/caller"
	"trireme/internal/kind"
	"trireme/internal/mesos/codec"
	mesosv1 "trireme/internal/mesos/v1"
	"trireme/internal/mesos/v1/maintenance"
	"trireme/internal/mesos/v1/master"
	"trireme/internal/mesos/v1/quota"
	"trireme/internal/object/mesos"
)

// writeRoutes are the older endpoints that change something: each is a call of the
// API whose parts come as a form, or as JSON of another shape.
func (s *Server) writeRoutes() map[string]route {
	by := func(status int, parse func(*Request, *master.Call) error, write writing) route {
		return route{handle: func(r *Request) error {
			r.Body = http.MaxBytesReader(r.Out, r.Body, bodyMax)
			call := &master.Call{}
			if err := parse(r, call); err != nil {
				return err
			}
			if missing := codec.Missing(call); missing != nil {
				return kind.New(kind.Malformed, "%s: is missing", missing[0])
			}
			if err := write(s, r, call); err != nil {
				return err
			}
			r.Out.WriteHeader(status)
			return nil
		}}
	}
	return map[string]route{
		"POST /teardown":             by(http.StatusOK, teardownForm, teardownCall),
		"POST /reserve":              by(http.StatusAccepted, reserveForm, reserveCall),
		"POST /unreserve":            by(http.StatusAccepted, unreserveForm, unreserveCall),
		"POST /create-volumes":       by(http.StatusAccepted, createForm, createCall),
		"POST /destroy-volumes":      by(http.StatusAccepted, destroyForm, destroyCall),
		"POST /machine/down":         by(http.StatusOK, downBody, startMaintenanceCall),
		"POST /machine/up":           by(http.StatusOK, upBody, stopMaintenanceCall),
		"POST /maintenance/schedule": by(http.StatusOK, scheduleBody, updateScheduleCall),
		"PUT /weights":               by(http.StatusOK, weightsBody, updateWeightsCall),
		"POST /quota":                by(http.StatusOK, quotaBody, setQuotaCall),
		"DELETE /quota/{role...}":    by(http.StatusOK, quotaPath, removeQuotaCall),
	}
}

func teardownForm(r *Request, call *master.Call) error {
	id, err := r.form("frameworkId")
	call.Teardown = &master.Call_Teardown{FrameworkId: &mesosv1.FrameworkID{Value: &id}}
	return err
}

func reserveForm(r *Request, call *master.Call) error {
	agent, resources, err := r.agentForm("resources")
	call.ReserveResources = &master.Call_ReserveResources{AgentId: agent, Resources: resources}
	return err
}

func unreserveForm(r *Request, call *master.Call) error {
	agent, resources, err := r.agentForm("resources")
	call.UnreserveResources = &master.Call_UnreserveResources{AgentId: agent, Resources: resources}
	return err
}

func createForm(r *Request, call *master.Call) error {
	agent, volumes, err := r.agentForm("volumes")
	call.CreateVolumes = &master.Call_CreateVolumes{AgentId: agent, Volumes: volumes}
	return err
}

func destroyForm(r *Request, call *master.Call) error {
	agent, volumes, err := r.agentForm("volumes")
	call.DestroyVolumes = &master.Call_DestroyVolumes{AgentId: agent, Volumes: volumes}
	return err
}

func downBody(r *Request, call *master.Call) error {
	machines, err := list(r, func() *mesosv1.MachineID { return &mesosv1.MachineID{} })
	call.StartMaintenance = &master.Call_StartMaintenance{Machines: machines}
	return err
}

func upBody(r *Request, call *master.Call) error {
	machines, err := list(r, func() *mesosv1.MachineID { return &mesosv1.MachineID{} })
	call.StopMaintenance = &master.Call_StopMaintenance{Machines: machines}
	return err
}

func scheduleBody(r *Request, call *master.Call) error {
	schedule := &maintenance.Schedule{}
	call.UpdateMaintenanceSchedule = &master.Call_UpdateMaintenanceSchedule{Schedule: schedule}
	return r.message(schedule)
}

func weightsBody(r *Request, call *master.Call) error {
	infos, err := list(r, func() *mesosv1.WeightInfo { return &mesosv1.WeightInfo{} })
	call.UpdateWeights = &master.Call_UpdateWeights{WeightInfos: infos}
	return err
}

func quotaBody(r *Request, call *master.Call) error {
	request := &quota.QuotaRequest{}
	call.SetQuota = &master.Call_SetQuota{QuotaRequest: request}
	return r.message(request)
}

func quotaPath(r *Request, call *master.Call) error {
	role := r.PathValue("role")
	call.RemoveQuota = &master.Call_RemoveQuota{Role: &role}
	return nil
}

// form returns a value of a form that has to be there.
func (r *Request) form(name string) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", kind.New(kind.Malformed, "the form cannot be read: %w", err)
	}
	value := r.Form.Get(name)
	if value == "" {
		return "", kind.New(kind.Malformed, "Missing '%s' query parameter in the request body", name)
	}
	return value, nil
}

// agentForm returns the agent of slaveId and a list of resources in JSON.
func (r *Request) agentForm(name string) (*mesosv1.AgentID, []*mesosv1.Resource, error) {
	id, err := r.form("slaveId")
	if err != nil {
		return nil, nil, err
	}
	text, err := r.form(name)
	if err != nil {
		return nil, nil, err
	}
	all, err := parseList(name, []byte(text), func() *mesosv1.Resource { return &mesosv1.Resource{} })
	return &mesosv1.AgentID{Value: &id}, all, err
}

// message reads a body that is one message in JSON.
func (r *Request) message(m proto.Message) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return kind.New(kind.Malformed, "the body cannot be read: %w", err)
	}
	return codec.JSON.Parse(body, m)
}

// list reads a body that is a JSON list of messages.
func list[M proto.Message](r *Request, one func() M) ([]M, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, kind.New(kind.Malformed, "the body cannot be read: %w", err)
	}
	return parseList("body", body, one)
}

func parseList[M proto.Message](field string, text []byte, one func() M) (all []M, err error) {
	var raws []json.RawMessage
	if err := json.Unmarshal(text, &raws); err != nil {
		return nil, kind.New(kind.Malformed, "%s: is no JSON list: %w", field, err)
	}
	for _, raw := range raws {
		m := one()
		if err := codec.JSON.Parse(raw, m); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// custom calls the Kubernetes door for objects of a resource as who asks.
func (r *Request) custom(of schema.GroupVersionResource) (dynamic.ResourceInterface, error) {
	as, err := r.door.clients.Clients(r.Who.Key, r.Who.Client)
	if err != nil {
		return nil, err
	}
	return as.Custom.Resource(of), nil
}

// changeAgent applies change to the Agent of a node, again where somebody else has
// written it meanwhile.
func (r *Request) changeAgent(node string, change func(*mesos.Agent) error) error {
	agents, err := r.custom(mesos.Agents)
	if err != nil {
		return err
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		u, err := agents.Get(r.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		a, err := mesos.AgentFrom(u)
		if err != nil {
			return err
		}
		if err := change(a); err != nil {
			return err
		}
		if u, err = a.Unstructured(); err != nil {
			return err
		}
		_, err = agents.Update(r.Context(), u, metav1.UpdateOptions{})
		return err
	})
	return caller.FromKubernetes(err)
}

// teardownCall says that the framework's time is up: the loop mesos/frameworks removes
// it, and the door ends its stream.
func teardownCall(s *Server, r *Request, call *master.Call) error {
	id := call.GetTeardown().GetFrameworkId().GetValue()
	f := s.look(r).byID[id]
	if f == nil || f.Status.Removed != nil {
		return codec.Refuse(http.StatusBadRequest, "No framework found with specified ID: %s", id)
	}
	frameworks, err := r.custom(mesos.Frameworks)
	if err != nil {
		return err
	}
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		u, err := frameworks.Get(r.Context(), mesos.FrameworkName(id), metav1.GetOptions{})
		if err != nil {
			return err
		}
		f, err := mesos.FrameworkFrom(u)
		if err != nil {
			return err
		}
		now := metav1.NewTime(s.cfg.Now())
		f.Status.RemoveAt = &now
		if u, err = f.Unstructured(); err != nil {
			return err
		}
		_, err = frameworks.Update(r.Context(), u, metav1.UpdateOptions{})
		return err
	})
	return caller.FromKubernetes(err)
}
