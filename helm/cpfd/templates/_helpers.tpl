{{- define "cpfd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "cpfd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "cpfd.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "cpfd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cpfd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Labels of any resource; takes (dict "root" $ "component" name). */}}
{{- define "cpfd.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{ include "cpfd.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cpfd
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The workloads, as JSON: one with all arms, or one for each. */}}
{{- define "cpfd.workloads" -}}
{{- $name := include "cpfd.fullname" . -}}
{{- $made := list -}}
{{- if eq .Values.split.mode "gateway" -}}
{{- range .Values.arms -}}
{{- $alone := merge (dict "weight" 1) . -}}
{{- $made = append $made (dict "name" (printf "%s-%s" $name .name) "component" .name "arms" (list $alone)) -}}
{{- end -}}
{{- else -}}
{{- $made = list (dict "name" $name "component" "serve" "arms" .Values.arms) -}}
{{- end -}}
{{- toJson $made -}}
{{- end }}

{{- define "cpfd.image" -}}
{{- include "cpfd.imageReference" (dict "root" . "image" .Values.image) -}}
{{- end }}

{{- define "cpfd.imageReference" -}}
{{- with .image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ default $.root.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end }}

{{- define "cpfd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cpfd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "cpfd.longestDeadlineSeconds" -}}
{{- $ms := dig "deadline" "max_ms" 60000 .Values.config -}}
{{- divf $ms 1000 | ceil | int -}}
{{- end }}

{{- define "cpfd.graceSeconds" -}}
{{- add .Values.lifecycle.preStopSeconds (include "cpfd.longestDeadlineSeconds" . | int) .Values.lifecycle.graceMarginSeconds -}}
{{- end }}

{{- /* Where an arm's bundle lies inside the container. */}}
{{- define "cpfd.bundlePath" -}}
{{- if .bundle.source -}}/fetched/{{ .name }}{{- else -}}{{ printf "/bundles/%s/%s" .name (default "" .bundle.path) | trimSuffix "/" }}{{- end -}}
{{- end }}

{{- /* Whole cores that the container may count on; empty where nothing says. The service sees a limit, not a request. */}}
{{- define "cpfd.cores" -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "" .Values.resources) .Values.resources | toString -}}
{{- if hasSuffix "m" $cpu -}}
{{- divf (trimSuffix "m" $cpu | float64) 1000 | ceil | int -}}
{{- else if $cpu -}}
{{- $cpu | float64 | ceil | int -}}
{{- end -}}
{{- end }}

{{- /* The service's YAML file; takes (dict "root" $ "workload" w). */}}
{{- define "cpfd.config" -}}
{{- $values := .root.Values -}}
{{- $arms := list -}}
{{- range .workload.arms -}}
{{- $arms = append $arms (dict "name" .name "weight" .weight "bundle" (include "cpfd.bundlePath" .)) -}}
{{- end -}}
{{- $own := dict
  "host" "0.0.0.0"
  "port" $values.containerPort
  "arms" $arms
  "body" (dict "spool_directory" "/spool")
  "drain" (dict "max_seconds" (add1 (include "cpfd.longestDeadlineSeconds" .root | int))) -}}
{{- $defaults := dict -}}
{{- with include "cpfd.cores" .root -}}
{{- $defaults = dict "decode" (dict "workers" (int .)) "lanes" (ternary dict (dict "count" (int .)) $values.gpu.enabled) -}}
{{- end -}}
{{- if $values.gpu.enabled -}}
{{- $_ := set $own "lanes" (dict "provider" "cuda") -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $defaults (deepCopy $values.config) $own) -}}
{{- end }}

{{- define "cpfd.credentialsName" -}}
{{- if .Values.credentials.existingSecret -}}
{{- .Values.credentials.existingSecret -}}
{{- else if .Values.credentials.data -}}
{{- include "cpfd.fullname" . }}-credentials
{{- end -}}
{{- end }}

{{- define "cpfd.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "cpfd.workloadKind" -}}
{{- if eq .Values.workload.kind "rollout" }}
apiVersion: argoproj.io/v1alpha1
kind: Rollout
{{- else }}
apiVersion: apps/v1
kind: Deployment
{{- end }}
{{- end }}

{{- /* Refuses values that the schema cannot. */}}
{{- define "cpfd.check" -}}
{{- $names := list -}}
{{- $weight := 0.0 -}}
{{- range .Values.arms -}}
{{- if has .name $names -}}{{ fail (printf "arms: %s is there twice" .name) }}{{- end -}}
{{- $names = append $names .name -}}
{{- $weight = addf $weight .weight -}}
{{- $ways := 0 -}}
{{- $bundle := .bundle -}}
{{- range list "source" "claim" "image" -}}
{{- if get $bundle . -}}{{- $ways = add1 $ways -}}{{- end -}}
{{- end -}}
{{- if ne (int $ways) 1 -}}{{ fail (printf "arms: %s needs exactly one of bundle.source, bundle.claim, bundle.image" .name) }}{{- end -}}
{{- if and .bundle.source (not .bundle.digest) -}}{{ fail (printf "arms: %s: a bundle that is fetched needs bundle.digest" .name) }}{{- end -}}
{{- if and .bundle.image (semverCompare "<1.33-0" $.Capabilities.KubeVersion.Version) -}}{{ fail (printf "arms: %s: bundle.image needs Kubernetes 1.33" .name) }}{{- end -}}
{{- end -}}
{{- if le $weight 0.0 -}}{{ fail "arms: at least one weight must be above 0" }}{{- end -}}
{{- with .Values.split.mirror.arm -}}
{{- if not (has . $names) -}}{{ fail (printf "split.mirror.arm: there is no arm %s" .) }}{{- end -}}
{{- if ne $.Values.split.mode "gateway" -}}{{ fail "split.mirror needs split.mode gateway" }}{{- end -}}
{{- end -}}
{{- if and (eq .Values.split.mode "gateway") (eq .Values.split.router "httproute") (not .Values.split.parentRefs) -}}
{{ fail "split.parentRefs: name the Gateway that the HTTPRoute attaches to, or set split.router" }}
{{- end -}}
{{- with .Values.loadtest -}}
{{- if and .enabled (ne (eq .shape "ramp-arm") (ne .arm "")) -}}{{ fail "loadtest: the shape ramp-arm, and no other, needs loadtest.arm" }}{{- end -}}
{{- if and .arm (not (has .arm $names)) -}}{{ fail (printf "loadtest.arm: there is no arm %s" .arm) }}{{- end -}}
{{- range $arm, $_ := (dig "arms" dict .objectives) -}}
{{- if not (has $arm $names) -}}{{ fail (printf "loadtest.objectives.arms: there is no arm %s" $arm) }}{{- end -}}
{{- end -}}
{{- end -}}
{{- if gt .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas -}}{{ fail "autoscaling: minReplicas is above maxReplicas" }}{{- end -}}
{{- end }}
