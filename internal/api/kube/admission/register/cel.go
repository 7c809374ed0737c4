package register

import (
	"strings"

	registration "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// expressionSet compiles the expressions of one policy or webhook.
type expressionSet struct {
	check    *check
	params   bool
	compiler *plugincel.CompositedCompiler // nil until one is needed
}

func newExpressions(c *check, params bool) *expressionSet {
	return &expressionSet{check: c, params: params}
}

// ready makes the compiler, which costs more than most registrations need.
func (e *expressionSet) ready(at *field.Path) bool {
	if e.compiler != nil {
		return true
	}
	var err error
	e.compiler, err = plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		e.check.add(field.InternalError(at, err))
	}
	return err == nil
}

// compile compiles what access yields from text and reports what is wrong.
func (e *expressionSet) compile(text string, access plugincel.ExpressionAccessor, decls plugincel.OptionalVariableDeclarations, at *field.Path) {
	if strings.TrimSpace(text) == "" {
		e.check.add(field.Required(at, "expression is not specified"))
		return
	}
	if !e.ready(at) {
		return
	}
	decls.HasParams = e.params
	if r := e.compiler.CompileCELExpression(access, decls, e.mode(text)); r.Error != nil {
		e.check.add(fault(at, text, r.Error))
	}
}

// mode lets an expression that stands already use what new ones may not.
func (e *expressionSet) mode(text string) environment.Type {
	if e.check.known[text] {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

func fault(at *field.Path, text string, err *cel.Error) *field.Error {
	switch err.Type {
	case cel.ErrorTypeRequired:
		return field.Required(at, err.Detail)
	case cel.ErrorTypeInvalid:
		return field.Invalid(at, text, err.Detail)
	}
	return field.InternalError(at, err)
}

func (e *expressionSet) matchCondition(text string, at *field.Path) {
	e.compile(text, &matchconditions.MatchCondition{Expression: text}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true}, at)
}

func (e *expressionSet) condition(text string, at *field.Path) {
	e.compile(text, &validating.ValidationCondition{Expression: text}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true}, at)
}

func (e *expressionSet) message(text string, at *field.Path) {
	e.compile(text, &validating.MessageExpressionCondition{MessageExpression: text}, plugincel.OptionalVariableDeclarations{}, at)
}

func (e *expressionSet) value(text string, at *field.Path) {
	e.compile(text, &validating.AuditAnnotationCondition{ValueExpression: text}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true}, at)
}

func (e *expressionSet) jsonPatch(text string, at *field.Path) {
	e.compile(text, &patch.JSONPatchCondition{Expression: text}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true, HasPatchTypes: true}, at)
}

func (e *expressionSet) applyConfiguration(text string, at *field.Path) {
	e.compile(text, &patch.ApplyConfigurationCondition{Expression: text}, plugincel.OptionalVariableDeclarations{HasAuthorizer: true, HasPatchTypes: true}, at)
}

// variables makes each variable known to the expressions that follow it.
func (e *expressionSet) variables(list []registration.Variable, at *field.Path) {
	for i, v := range list {
		at := at.Index(i)
		if err := variableName(v.Name, at.Child("name")); err != nil {
			e.check.add(err)
			continue
		}
		if strings.TrimSpace(v.Expression) == "" {
			e.check.add(field.Required(at.Child("expression"), "expression is not specified"))
			continue
		}
		if !e.ready(at) {
			return
		}
		decls := plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true}
		r := e.compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, decls, e.mode(v.Expression))
		if r.Error != nil {
			e.check.add(fault(at.Child("expression"), v.Expression, r.Error))
		}
	}
}

// expressions returns every expression of a registration.
func expressions(o runtime.Object) map[string]bool {
	known := map[string]bool{}
	conditions := func(list []registration.MatchCondition) {
		for _, m := range list {
			known[m.Expression] = true
		}
	}
	variables := func(list []registration.Variable) {
		for _, v := range list {
			known[v.Expression] = true
		}
	}
	switch o := o.(type) {
	case *registration.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			conditions(o.Webhooks[i].MatchConditions)
		}
	case *registration.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			conditions(o.Webhooks[i].MatchConditions)
		}
	case *registration.ValidatingAdmissionPolicy:
		conditions(o.Spec.MatchConditions)
		variables(o.Spec.Variables)
		for _, v := range o.Spec.Validations {
			known[v.Expression], known[v.MessageExpression] = true, true
		}
		for _, a := range o.Spec.AuditAnnotations {
			known[a.ValueExpression] = true
		}
	case *registration.MutatingAdmissionPolicy:
		conditions(o.Spec.MatchConditions)
		variables(o.Spec.Variables)
		for _, m := range o.Spec.Mutations {
			if m.JSONPatch != nil {
				known[m.JSONPatch.Expression] = true
			}
			if m.ApplyConfiguration != nil {
				known[m.ApplyConfiguration.Expression] = true
			}
		}
	}
	return known
}
