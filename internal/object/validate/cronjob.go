package validate

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"trireme/internal/object"
)

// cronJobNameMax leaves room for what the names of its jobs add (API reference,
// CronJob).
const cronJobNameMax = 52

func cronJob(c *batchv1.CronJob) field.ErrorList {
	at := field.NewPath("spec")
	var errs field.ErrorList
	if len(c.Name) > cronJobNameMax {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), c.Name, fmt.Sprintf("must be no more than %d characters", cronJobNameMax)))
	}
	s := &c.Spec
	if s.Schedule == "" {
		errs = append(errs, field.Required(at.Child("schedule"), ""))
	} else {
		errs = append(errs, schedule(s, at)...)
	}
	if d := s.StartingDeadlineSeconds; d != nil {
		errs = append(errs, nonNegative(*d, at.Child("startingDeadlineSeconds"))...)
	}
	errs = append(errs, oneOf(s.ConcurrencyPolicy, at.Child("concurrencyPolicy"), batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)...)
	for name, v := range map[string]*int32{"successfulJobsHistoryLimit": s.SuccessfulJobsHistoryLimit, "failedJobsHistoryLimit": s.FailedJobsHistoryLimit} {
		if v != nil {
			errs = append(errs, nonNegative(int64(*v), at.Child(name))...)
		}
	}
	template := at.Child("jobTemplate", "spec")
	if s.JobTemplate.Spec.ManualSelector != nil && *s.JobTemplate.Spec.ManualSelector {
		errs = append(errs, field.NotSupported(template.Child("manualSelector"), true, []string{"nil", "false"}))
	}
	return append(errs, jobSpec(&s.JobTemplate.Spec, template)...)
}

func schedule(s *batchv1.CronJobSpec, at *field.Path) (errs field.ErrorList) {
	if strings.Contains(s.Schedule, "TZ") {
		errs = append(errs, field.Invalid(at.Child("schedule"), s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"))
	} else if _, err := object.ParseSchedule(s.Schedule); err != nil {
		errs = append(errs, field.Invalid(at.Child("schedule"), s.Schedule, err.Error()))
	}
	if s.TimeZone == nil {
		return errs
	}
	switch zone := *s.TimeZone; {
	case zone == "":
		errs = append(errs, field.Invalid(at.Child("timeZone"), s.TimeZone, "timeZone must be nil or non-empty string"))
	case strings.EqualFold(zone, "Local"):
		errs = append(errs, field.Invalid(at.Child("timeZone"), s.TimeZone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"))
	default:
		if _, err := object.ParseZone(zone); err != nil {
			errs = append(errs, field.Invalid(at.Child("timeZone"), s.TimeZone, err.Error()))
		}
	}
	return errs
}
