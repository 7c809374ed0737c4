package validate_test

import (
	"encoding/json"
	"strings"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	policyv1 "k8s.io/api/policy/v1"

	"trireme/internal/object/defaults"
	"trireme/internal/object/validate"
	"trireme/internal/store"
)

const jobPods = `"selector":{"matchLabels":{"controller-uid":"u"}},"template":{"metadata":{"labels":{"controller-uid":"u"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}`

// TestBatchFaults checks which field is named for what is wrong with what runs to an
// end, and with what governs the pods of others.
func TestBatchFaults(t *testing.T) {
	cron := func(spec string) string {
		return `{"spec":{` + spec + `,"jobTemplate":{"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}}}`
	}
	hpa := func(spec string) string {
		return `{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"},` + spec + `}}`
	}
	indexed := `"completionMode":"Indexed","completions":3,`
	for _, c := range []struct {
		o        store.Object
		in, want string
	}{
		{&batchv1.Job{}, `{"spec":{` + jobPods + `}}`, ""},
		{&batchv1.Job{}, `{"spec":{` + strings.Replace(jobPods, "Never", "Always", 1) + `}}`, "spec.template.spec.restartPolicy"},
		{&batchv1.Job{}, `{"spec":{` + strings.Replace(jobPods, `"labels":{"controller-uid":"u"}`, `"labels":{}`, 1) + `}}`, "spec.template.metadata.labels"},
		{&batchv1.Job{}, `{"spec":{"parallelism":-1,"completions":-1,"backoffLimit":-1,"ttlSecondsAfterFinished":-1,"activeDeadlineSeconds":-1,` + jobPods + `}}`,
			"spec.activeDeadlineSeconds spec.backoffLimit spec.completions spec.parallelism spec.ttlSecondsAfterFinished"},
		{&batchv1.Job{}, `{"spec":{"completionMode":"Sometimes",` + jobPods + `}}`, "spec.completionMode"},
		{&batchv1.Job{}, `{"spec":{"completionMode":"Indexed","parallelism":1,` + jobPods + `}}`, "spec.completions"},
		{&batchv1.Job{}, `{"spec":{"backoffLimitPerIndex":1,` + jobPods + `}}`, "spec.backoffLimitPerIndex"},
		{&batchv1.Job{}, `{"spec":{` + indexed + `"maxFailedIndexes":4,` + jobPods + `}}`, "spec.backoffLimitPerIndex spec.maxFailedIndexes"},
		{&batchv1.Job{}, `{"spec":{` + indexed + `"parallelism":100001,` + jobPods + `}}`, "spec.parallelism"},
		{&batchv1.Job{}, `{"spec":{"managedBy":"me",` + jobPods + `}}`, "spec.managedBy"},
		{&batchv1.Job{}, `{"spec":{"podReplacementPolicy":"TerminatingOrFailed","podFailurePolicy":{"rules":[]},` + jobPods + `}}`, "spec.podReplacementPolicy"},
		{&batchv1.Job{}, `{"spec":{"podFailurePolicy":{"rules":[{"action":"FailIndex","onExitCodes":{"operator":"In","values":[1]}}]},` + jobPods + `}}`, "spec.podFailurePolicy.rules[0].action"},
		{&batchv1.Job{}, `{"spec":{"podFailurePolicy":{"rules":[{"action":"Ignore"}]},` + jobPods + `}}`, "spec.podFailurePolicy.rules[0]"},
		{&batchv1.Job{}, `{"spec":{"podFailurePolicy":{"rules":[{"action":"Ignore","onExitCodes":{"containerName":"x","operator":"In","values":[2,0,2]}}]},` + jobPods + `}}`,
			"spec.podFailurePolicy.rules[0].onExitCodes.containerName spec.podFailurePolicy.rules[0].onExitCodes.values spec.podFailurePolicy.rules[0].onExitCodes.values[1] spec.podFailurePolicy.rules[0].onExitCodes.values[2]"},
		{&batchv1.Job{}, `{"spec":{"podFailurePolicy":{"rules":[{"action":"Ignore","onPodConditions":[{"type":"a b","status":"Maybe"}]}]},` + jobPods + `}}`,
			"spec.podFailurePolicy.rules[0].onPodConditions[0].status spec.podFailurePolicy.rules[0].onPodConditions[0].type"},
		{&batchv1.Job{}, `{"spec":{"successPolicy":{"rules":[{"succeededCount":1}]},` + jobPods + `}}`, "spec.successPolicy"},
		{&batchv1.Job{}, `{"spec":{` + indexed + `"successPolicy":{"rules":[{}, {"succeededCount":4}, {"succeededIndexes":"2-1"}, {"succeededIndexes":"0,3"}]},` + jobPods + `}}`,
			"spec.successPolicy.rules[0] spec.successPolicy.rules[1].succeededCount spec.successPolicy.rules[2].succeededIndexes spec.successPolicy.rules[3].succeededIndexes"},
		{&batchv1.CronJob{}, cron(`"schedule":"*/5 * * * *","timeZone":"Europe/Vienna"`), ""},
		{&batchv1.CronJob{}, cron(`"schedule":"@hourly"`), ""},
		{&batchv1.CronJob{}, cron(`"schedule":""`), "spec.schedule"},
		{&batchv1.CronJob{}, cron(`"schedule":"* * * *"`), "spec.schedule"},
		{&batchv1.CronJob{}, cron(`"schedule":"TZ=0"`), "spec.schedule"},
		{&batchv1.CronJob{}, cron(`"schedule":"@every"`), "spec.schedule"},
		{&batchv1.CronJob{}, cron(`"schedule":"* * * * *","timeZone":"Moon/Base","concurrencyPolicy":"Never","startingDeadlineSeconds":-1,"failedJobsHistoryLimit":-1`),
			"spec.concurrencyPolicy spec.failedJobsHistoryLimit spec.startingDeadlineSeconds spec.timeZone"},
		{&batchv1.CronJob{}, strings.Replace(cron(`"schedule":"* * * * *"`), "Never", "Always", 1), "spec.jobTemplate.spec.template.spec.restartPolicy"},
		{&policyv1.PodDisruptionBudget{}, `{"spec":{"minAvailable":"50%","selector":{}}}`, ""},
		{&policyv1.PodDisruptionBudget{}, `{"spec":{"minAvailable":1,"maxUnavailable":1}}`, "spec"},
		{&policyv1.PodDisruptionBudget{}, `{"spec":{"minAvailable":-1}}`, "spec.minAvailable"},
		{&policyv1.PodDisruptionBudget{}, `{"spec":{"maxUnavailable":"101%"}}`, "spec.maxUnavailable"},
		{&policyv1.PodDisruptionBudget{}, `{"spec":{"maxUnavailable":"half","unhealthyPodEvictionPolicy":"Maybe"}}`, "spec.maxUnavailable spec.unhealthyPodEvictionPolicy"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"maxReplicas":3`), ""},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"maxReplicas":0`), "spec.maxReplicas"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"minReplicas":4,"maxReplicas":3`), "spec.maxReplicas"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"minReplicas":0,"maxReplicas":3`), "spec.metrics"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"minReplicas":0,"maxReplicas":3,"metrics":[{"type":"External","external":{"metric":{"name":"q"},"target":{"type":"AverageValue","averageValue":"1"}}}]`), ""},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"maxReplicas":3,"metrics":[{"type":"Pods"}]`), "spec.metrics[0].pods"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"maxReplicas":3,"metrics":[{"type":"Pods","pods":{"metric":{"name":"q"},"target":{"type":"Value","value":"0"}}}]`),
			"spec.metrics[0].pods.target.averageValue spec.metrics[0].pods.target.value"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, hpa(`"maxReplicas":3,"behavior":{"scaleUp":{"policies":[{"type":"Pods","value":0,"periodSeconds":1801}],"stabilizationWindowSeconds":3601}}`),
			"spec.behavior.scaleUp.policies[0].periodSeconds spec.behavior.scaleUp.policies[0].value spec.behavior.scaleUp.stabilizationWindowSeconds"},
		{&autoscalingv2.HorizontalPodAutoscaler{}, `{"spec":{"scaleTargetRef":{"kind":"a/b"},"maxReplicas":1}}`, "spec.scaleTargetRef.kind spec.scaleTargetRef.name"},
	} {
		if got := faults(t, c.o, c.in); got != c.want {
			t.Errorf("%T %s: %q, want %q", c.o, c.in, got, c.want)
		}
	}
}

// TestJobUpdates: what a Job's pods are made from stays, but for what a queue may say
// before the Job starts.
func TestJobUpdates(t *testing.T) {
	base := `"completions":2,"parallelism":2,"completionMode":"Indexed",` + jobPods
	for _, c := range []struct{ name, old, next, want string }{
		{"nothing", base, base, ""},
		{"parallelism", base, strings.Replace(base, `"parallelism":2`, `"parallelism":1`, 1), ""},
		{"elastic", base, strings.Replace(base, `"completions":2,"parallelism":2`, `"completions":3,"parallelism":3`, 1), ""},
		{"one of the two", base, strings.Replace(base, `"completions":2`, `"completions":3`, 1), "spec.completions"},
		{"image", base, strings.Replace(base, `"image":"i"`, `"image":"j"`, 1), "spec.template"},
		{"mode", base, strings.Replace(base, "Indexed", "NonIndexed", 1), "spec.completionMode"},
		{"node selector while suspended", `"suspend":true,` + base, `"suspend":true,` + strings.Replace(base, `"restartPolicy"`, `"nodeSelector":{"a":"b"},"restartPolicy"`, 1), ""},
		{"node selector", base, strings.Replace(base, `"restartPolicy"`, `"nodeSelector":{"a":"b"},"restartPolicy"`, 1), "spec.template"},
		{"image while suspended", `"suspend":true,` + base, `"suspend":true,` + strings.Replace(base, `"image":"i"`, `"image":"j"`, 1), "spec.template"},
	} {
		read := func(spec string) *batchv1.Job {
			j := &batchv1.Job{}
			if err := json.Unmarshal([]byte(`{"metadata":{"name":"x","namespace":"default","resourceVersion":"1"},"spec":{`+spec+`}}`), j); err != nil {
				t.Fatal(err)
			}
			defaults.Object(j)
			return j
		}
		var got []string
		for _, e := range validate.Update(read(c.next), read(c.old)) {
			got = append(got, e.Field)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
