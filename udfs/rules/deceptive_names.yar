// Programs that dress as something else. `filename` is the attachment's name, `entries` the names within an
// archive, one a line; both are empty where there is none.

rule Program_With_Document_Name
{
    condition:
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550
        and filename matches /\.(pdf|docx?|xlsx?|pptx?|txt|jpe?g|png|gif|html?|mp3|zip)[\s_.]*(\.(exe|scr|pif|com|cpl))?\s*$/i
}

rule Screensaver_Or_Shortcut_Program
{
    condition:
        uint16(0) == 0x5A4D and filename matches /\.(scr|pif|cpl|lnk)\s*$/i
}

rule Archive_Hides_Program_Behind_Document_Name
{
    condition:
        entries matches /\.(pdf|docx?|xlsx?|pptx?|txt|jpe?g|png|gif|html?|mp3)[ _.]*\.(exe|scr|pif|com|cpl|bat|cmd|vbs|vbe|js|jse|wsf|hta|lnk)\s*(\n|$)/i
}
