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
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{ include "cpfd.podLabels" . }}
{{- end }}

{{- /* Labels of a pod: without the chart's version, which would restart every pod at a new chart. */}}
{{- define "cpfd.podLabels" -}}
{{ include "cpfd.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: cpfd
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The arms with the weights that count, as JSON. */}}
{{- define "cpfd.arms" -}}
{{- $made := list -}}
{{- range .Values.arms -}}
{{- $made = append $made (set (deepCopy .) "weight" (dig .name .weight $.Values.armWeights | int)) -}}
{{- end -}}
{{- toJson $made -}}
{{- end }}

{{- /* Whether a bundle comes out of one of the ways. */}}
{{- define "cpfd.bundlesAreFetched" -}}
{{- range .Values.arms -}}{{- if .bundle.source -}}true{{- end -}}{{- end -}}
{{- end }}

{{- /* The workloads, as JSON: one with all arms, or one for each. */}}
{{- define "cpfd.workloads" -}}
{{- $name := include "cpfd.fullname" . -}}
{{- $made := list -}}
{{- if eq .Values.split.mode "gateway" -}}
{{- range include "cpfd.arms" . | fromJsonArray -}}
{{- $alone := set (deepCopy .) "weight" 1 -}}
{{- $made = append $made (dict "name" (printf "%s-%s" $name .name) "component" .name "arms" (list $alone)) -}}
{{- end -}}
{{- else -}}
{{- $made = list (dict "name" $name "component" "serve" "arms" (include "cpfd.arms" . | fromJsonArray)) -}}
{{- end -}}
{{- toJson $made -}}
{{- end }}

{{- /* The image's tag: the CUDA image has one of its own. */}}
{{- define "cpfd.tag" -}}
{{- default (ternary (printf "%s-cuda" .Chart.AppVersion) .Chart.AppVersion .Values.gpu.enabled) .Values.image.tag -}}
{{- end }}

{{- define "cpfd.image" -}}
{{- $image := set (deepCopy .Values.image) "tag" (include "cpfd.tag" .) -}}
{{- include "cpfd.imageReference" (dict "root" . "image" $image) -}}
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
