# Installs updates through the Windows Update Agent API (Microsoft.Update.Session).
#
# INGOT_INCLUDE and INGOT_EXCLUDE hold numbers of articles (KB4012212 or 4012212) or titles, one a line, in which * stands for any
# characters. Exit status: 0 when nothing is left to do, 3010 when the machine must be rebooted and the script run again, else 1.

$ErrorActionPreference = 'Stop'

function Read-Names([string]$text) {
    return @($text -split "`n" | ForEach-Object { $_.Trim() } | Where-Object { $_ })
}

function Test-Name($update, [string]$name) {
    if ($name -match '^(?:KB)?(\d+)$') {
        return @($update.KBArticleIDs) -contains $Matches[1]
    }
    # Of the wildcards of -like only * is meant.
    return $update.Title -like ($name -replace '([\[\]?`])', '`$1')
}

function Test-Names($update, [string[]]$names) {
    foreach ($name in $names) {
        if (Test-Name $update $name) { return $true }
    }
    return $false
}

function Test-Result($result, [string]$what) {
    # OperationResultCode: 2 succeeded, 3 succeeded with errors, 4 failed, 5 aborted.
    if ($result.ResultCode -eq 2 -or $result.ResultCode -eq 3) { return $true }
    [Console]::Error.WriteLine(('{0} failed: result {1}, error 0x{2:X8}' -f $what, $result.ResultCode, $result.HResult))
    return $false
}

[string[]]$include = Read-Names $env:INGOT_INCLUDE
[string[]]$exclude = Read-Names $env:INGOT_EXCLUDE

if ((New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired) {
    Write-Output 'Earlier updates wait for a reboot.'
    exit 3010
}

$session = New-Object -ComObject Microsoft.Update.Session
$session.ClientApplicationID = 'Ingot'
$criteria = 'IsInstalled=0 and IsHidden=0'
if (-not $include) { $criteria += ' and BrowseOnly=0' }
$wanted = New-Object -ComObject Microsoft.Update.UpdateColl
foreach ($update in $session.CreateUpdateSearcher().Search($criteria).Updates) {
    if ($include -and -not (Test-Names $update $include)) { continue }
    if ($exclude -and (Test-Names $update $exclude)) { continue }
    if ($update.InstallationBehavior.CanRequestUserInput) {
        Write-Output "Left out, it may ask questions: $($update.Title)"
        continue
    }
    if (-not $update.EulaAccepted) { $update.AcceptEula() }
    Write-Output "To install: $($update.Title)"
    [void]$wanted.Add($update)
}
if ($wanted.Count -eq 0) {
    Write-Output 'No updates to install.'
    exit 0
}

$downloader = $session.CreateUpdateDownloader()
$downloader.Updates = $wanted
$downloaded = $downloader.Download()
$failed = $false
$ready = New-Object -ComObject Microsoft.Update.UpdateColl
for ($i = 0; $i -lt $wanted.Count; $i++) {
    $update = $wanted.Item($i)
    if (Test-Result $downloaded.GetUpdateResult($i) "Download of $($update.Title)") {
        [void]$ready.Add($update)
    } else {
        $failed = $true
    }
}
if ($ready.Count -eq 0) { exit 1 }

$installer = $session.CreateUpdateInstaller()
$installer.Updates = $ready
$installed = $installer.Install()
for ($i = 0; $i -lt $ready.Count; $i++) {
    $update = $ready.Item($i)
    if (Test-Result $installed.GetUpdateResult($i) "Installation of $($update.Title)") {
        Write-Output "Installed: $($update.Title)"
    } else {
        $failed = $true
    }
}
# What failed may only wait for the reboot: it is tried again after it.
if ($installed.RebootRequired) { exit 3010 }
if ($failed) { exit 1 }
exit 0
