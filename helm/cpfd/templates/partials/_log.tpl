{{- /* The volume of the decision log. */}}
{{- define "cpfd.logVolume" -}}
{{- with .Values.log -}}
{{- if .enabled -}}
- name: log
  {{- if .claim }}
  persistentVolumeClaim:
    claimName: {{ .claim }}
  {{- else }}
  emptyDir:
    sizeLimit: {{ .sizeLimit }}
  {{- end }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The container that tends the log; takes (dict "root" $ "once" whether it ends after one pass). */}}
{{- define "cpfd.logContainer" -}}
{{- $root := .root -}}
{{- $once := .once -}}
{{- with .root.Values.log -}}
name: log
image: {{ include "cpfd.imageReference" (dict "root" $root "image" .image) }}
imagePullPolicy: {{ .image.pullPolicy }}
command: [python, -m, service.experiment.log]
args:
  - tend
  - --directory=/log
  - --keep-days={{ .keepDays }}
  {{- if $once }}
  - --once
  {{- else }}
  - --every={{ .everySeconds }}
  {{- end }}
  {{- with .shipTo }}
  - --to={{ . }}
  {{- end }}
securityContext:
  {{- include "cpfd.containerSecurity" $root | nindent 2 }}
{{- with .extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .existingSecret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
volumeMounts:
  - {name: log, mountPath: /log}
  - {name: tmp, mountPath: /tmp}
{{- end -}}
{{- end }}
