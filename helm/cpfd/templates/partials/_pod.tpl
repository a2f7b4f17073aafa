{{- /* The pod of a workload; takes (dict "root" $ "workload" w). */}}
{{- define "cpfd.podTemplate" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $workload := .workload -}}
{{- $faulty := and (or (not $values.faults.arm) (eq $values.faults.arm $workload.component)) $values.faults -}}
metadata:
  labels:
    {{- include "cpfd.podLabels" (dict "root" $root "component" $workload.component) | nindent 4 }}
    cpfd/serves: "true"
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "cpfd.config" . | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "cpfd.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # A Service named cpfd would put CPFD_PORT=tcp://... into the environment, which the settings refuse.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "cpfd.graceSeconds" $root }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "cpfd.selectorLabels" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $workload.component }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- include "cpfd.initContainers" . | nindent 2 }}
  containers:
    - name: cpfd
      image: {{ include "cpfd.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- if and $faulty $values.faults.killAfterSeconds }}
      command: [timeout, --signal=KILL, {{ $values.faults.killAfterSeconds | quote }}, python, -m, service]
      {{- end }}
      securityContext:
        {{- include "cpfd.containerSecurity" $root | nindent 8 }}
      env:
        - name: CPFD_CONFIG
          value: /etc/cpfd/serve.yaml
        {{- with $values.experiment.forceToken }}
        {{- if .existingSecret }}
        - name: CPFD_EXPERIMENT__FORCE_TOKEN
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .key }}
        {{- end }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ $values.containerPort }}
        - name: metrics
          containerPort: {{ $values.metricsPort }}
      startupProbe:
        {{- toYaml $values.probes.startup | nindent 8 }}
      livenessProbe:
        {{- toYaml $values.probes.liveness | nindent 8 }}
      readinessProbe:
        {{- if and $faulty $values.faults.neverReady }}
        exec:
          command: ["false"]
        {{- else }}
        {{- toYaml $values.probes.readiness | nindent 8 }}
        {{- end }}
      {{- if $values.lifecycle.preStopSeconds }}
      lifecycle:
        preStop:
          {{- if semverCompare ">=1.30-0" $root.Capabilities.KubeVersion.Version }}
          sleep:
            seconds: {{ $values.lifecycle.preStopSeconds }}
          {{- else }}
          exec:
            command: [sleep, {{ $values.lifecycle.preStopSeconds | quote }}]
          {{- end }}
      {{- end }}
      resources:
        {{- $disk := dict "requests" (dict "ephemeral-storage" (include "cpfd.mebibytes" (include "cpfd.diskBytes" $root))) }}
        {{- $resources := mustMergeOverwrite $disk (deepCopy $values.resources) }}
        {{- if $values.gpu.enabled }}
        {{- $resources = mergeOverwrite $resources (dict "limits" (dict $values.gpu.resourceName $values.gpu.count)) }}
        {{- end }}
        {{- if and $faulty $values.faults.cpuLimit }}
        {{- $slow := dict "cpu" $values.faults.cpuLimit }}
        {{- $resources = mergeOverwrite $resources (dict "limits" $slow "requests" $slow) }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/cpfd, readOnly: true}
        - {name: spool, mountPath: /spool}
        - {name: tmp, mountPath: /tmp}
        {{- if $values.log.enabled }}
        - {name: log, mountPath: /log}
        {{- end }}
        {{- if $values.experiment.stops.claim }}
        - {name: stops, mountPath: /stops}
        {{- end }}
        {{- if $values.volumes.sharedMemory.enabled }}
        - {name: shared-memory, mountPath: /dev/shm}
        {{- end }}
        {{- include "cpfd.bundleMounts" (dict "workload" $workload "readOnly" true) | nindent 8 }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $workload.name }}
    - name: spool
      emptyDir:
        sizeLimit: {{ default (include "cpfd.mebibytes" (include "cpfd.spoolBytes" $root)) $values.volumes.spool.sizeLimit }}
        {{- with $values.volumes.spool.medium }}
        medium: {{ . }}
        {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $values.volumes.tmp.sizeLimit }}
    {{- include "cpfd.logVolume" $root | nindent 4 }}
    {{- with $values.experiment.stops.claim }}
    - name: stops
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    {{- if $values.volumes.sharedMemory.enabled }}
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ $values.volumes.sharedMemory.sizeLimit }}
    {{- end }}
    {{- include "cpfd.bundleVolumes" . | nindent 4 }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- /* One for each arm whose bundle is fetched, or only verified against its digest. */}}
{{- define "cpfd.initContainers" -}}
{{- $root := .root -}}
{{- $workload := .workload -}}
{{- $values := .root.Values -}}
{{- $made := list -}}
{{- range .workload.arms -}}
{{- if .bundle.digest -}}{{- $made = append $made . -}}{{- end -}}
{{- end -}}
{{- $tended := and $values.log.enabled (not $values.log.claim) -}}
{{- if or $made $values.extraInitContainers $tended -}}
initContainers:
  {{- with $values.extraInitContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- range $made }}
  - name: bundle-{{ .name }}
    image: {{ include "cpfd.image" $root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [python, -m, service.fetch_bundle]
    args:
      - --digest={{ .bundle.digest }}
      - --into={{ include "cpfd.bundlePath" . }}
      {{- with .bundle.source }}
      - --source={{ . }}
      {{- end }}
    securityContext:
      {{- include "cpfd.containerSecurity" $root | nindent 6 }}
    {{- with $values.fetch.extraEnv }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with include "cpfd.credentialsName" $root }}
    envFrom:
      - secretRef:
          name: {{ . }}
    {{- end }}
    resources:
      {{- toYaml $values.fetch.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- include "cpfd.bundleMounts" (dict "workload" $workload "readOnly" false) | nindent 6 }}
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- end }}
  {{- if $tended }}
  # It starts before the service and ends after it, so that what the service wrote last is shipped too.
  - {{ include "cpfd.logContainer" (dict "root" $root "once" false) | nindent 4 | trim }}
    restartPolicy: Always
  {{- end }}
{{- end -}}
{{- end }}

{{- define "cpfd.bundleMounts" -}}
{{- $fetched := false -}}
{{- range .workload.arms -}}
{{- if .bundle.source -}}
{{- $fetched = true -}}
{{- else }}
- {name: bundle-{{ .name }}, mountPath: /bundles/{{ .name }}, readOnly: true}
{{- end -}}
{{- end -}}
{{- if $fetched }}
- {name: fetched, mountPath: /fetched, readOnly: {{ .readOnly }}}
{{- end -}}
{{- end }}

{{- define "cpfd.bundleVolumes" -}}
{{- $values := .root.Values -}}
{{- $fetched := false -}}
{{- range .workload.arms -}}
{{- if .bundle.source -}}
{{- $fetched = true -}}
{{- else }}
- name: bundle-{{ .name }}
  {{- if .bundle.claim }}
  persistentVolumeClaim:
    claimName: {{ .bundle.claim }}
    readOnly: true
  {{- else }}
  image:
    reference: {{ .bundle.image }}
    pullPolicy: {{ $values.image.pullPolicy }}
  {{- end }}
{{- end -}}
{{- end -}}
{{- if $fetched }}
- name: fetched
  emptyDir:
    sizeLimit: {{ $values.volumes.bundles.sizeLimit }}
{{- end -}}
{{- end }}
