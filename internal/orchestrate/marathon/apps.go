package marathon

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"trireme/internal/loop"
	"trireme/internal/object"
	ours "trireme/internal/object/marathon"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/store"
	"trireme/internal/tables"
)

// Apps is the control loop of apps.
type Apps struct {
	rules sow.Rules

	apps        map[object.Key]*ours.App
	bad         map[object.Key]error // what is wrong with a spec that no door has checked
	keys        map[types.UID]object.Key
	pods        map[object.Key]object.Key // the app of each pod
	deployments map[object.Key]*ours.Deployment
	agenda      loop.Agenda
}

// NewApps returns the loop.
func NewApps(rules sow.Rules) *Apps { return &Apps{rules: rules} }

// The methods of loop.Reconciler.

func (l *Apps) Name() string { return "orchestrate/marathon/apps" }

func (l *Apps) Reads() []store.TableID {
	return []store.TableID{tables.CustomObjects.ID(), tables.Pods.ID(), tables.Nodes.ID(), tables.Services.ID(), tables.Ingresses.ID(), tables.HorizontalPodAutoscalers.ID(), tables.PersistentVolumeClaims.ID(), tables.Namespaces.ID(), tables.ResourceQuotas.ID(), tables.Refusals.ID()}
}

func (l *Apps) Writes() []store.TableID {
	return append(sow.Writes(), tables.CustomObjects.ID(), tables.Services.ID(), tables.Ingresses.ID(), tables.HorizontalPodAutoscalers.ID(), tables.PersistentVolumeClaims.ID(), tables.Events.ID())
}

func (l *Apps) Reconcile(tx *store.Tx) (time.Time, error) {
	if tx.FullPass() {
		*l = Apps{
			rules: l.rules, apps: map[object.Key]*ours.App{}, bad: map[object.Key]error{}, keys: map[types.UID]object.Key{}, pods: map[object.Key]object.Key{},
			deployments: map[object.Key]*ours.Deployment{},
		}
	}
	l.observe(tx)
	start := tx.Writes()
	for _, key := range l.agenda.Due(tx.Now()) {
		if tx.Writes()-start >= loop.StepWritesMax {
			break // the rest stays due
		}
		l.agenda.Take(key)
		app := l.apps[key]
		if app == nil || app.DeletionTimestamp != nil {
			continue
		}
		s := &step{loop: l, tx: tx, app: app, key: key, room: loop.StepWritesMax}
		if err := s.run(); err != nil {
			return time.Time{}, err
		}
		l.agenda.At(key, s.next)
	}
	return l.agenda.Next(), nil
}

// observe marks the apps to look at.
func (l *Apps) observe(tx *store.Tx) {
	for at := range tables.CustomObjects.Changed(tx) {
		switch kind, key, _ := tables.IsMarathon(at); kind {
		case ours.Apps:
			l.observeApp(tx, key)
		case ours.Deployments:
			l.observeDeployment(tx, key)
		}
	}
	if len(l.apps) == 0 && len(l.pods) == 0 {
		return
	}
	for key := range tables.Pods.Changed(tx) {
		was, had := l.pods[key]
		delete(l.pods, key)
		if had {
			l.agenda.Mark(was)
		}
		if row, ok := tables.Pods.Row(tx, key); ok {
			if app, is := l.keys[row.Head().Owner]; is {
				l.pods[key] = app
				l.agenda.Mark(app)
			}
		}
	}
	again := map[string]bool{}
	for key := range tables.Namespaces.Changed(tx) {
		again[key.Name] = true
	}
	for key := range tables.ResourceQuotas.Changed(tx) {
		again[key.Namespace] = true
	}
	for key := range tables.Refusals.Changed(tx) {
		again[key.Namespace] = true
	}
	all := false
	for range tables.Nodes.Changed(tx) {
		all = true
		break
	}
	for key := range l.apps {
		if all || again[key.Namespace] {
			l.agenda.Mark(key)
		}
	}
	l.observeServices(tx)
}

func (l *Apps) observeApp(tx *store.Tx, key object.Key) {
	if was := l.apps[key]; was != nil {
		delete(l.keys, was.UID)
	}
	delete(l.apps, key)
	delete(l.bad, key)
	l.agenda.Mark(key)
	if app, ok := tables.MarathonApp(tx, key); ok {
		l.apps[key], l.keys[app.UID] = app, key
		if err := app.Spec.Validate(); err != nil {
			l.bad[key] = err
		}
	}
}

// observeDeployment marks the apps of a deployment that goes on, or has gone.
func (l *Apps) observeDeployment(tx *store.Tx, key object.Key) {
	was := l.deployments[key]
	delete(l.deployments, key)
	now, ok := tables.MarathonDeployment(tx, key)
	if ok {
		l.deployments[key] = now
	}
	for _, d := range []*ours.Deployment{was, now} {
		if d == nil {
			continue
		}
		for _, s := range d.Spec.Steps {
			for _, a := range s.Actions {
				l.agenda.Mark(object.Key{Namespace: a.Namespace, Name: ours.Name(a.App)})
			}
		}
	}
}

// holding returns the deployment that the app's spec was written by, nil where it is over.
func (l *Apps) holding(app *ours.App) *ours.Deployment {
	if app.Deployment == "" {
		return nil
	}
	for key, d := range l.deployments {
		if key.Name == app.Deployment && d.Status.State == "" {
			return d
		}
	}
	return nil
}
