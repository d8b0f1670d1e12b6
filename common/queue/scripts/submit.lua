-- Adds photos to an album, each once ever: the bit of its index in `seen` decides.
-- KEYS: the queue's nine, album, seen, paused:albums. ARGV: prefix, album id, then index, cost, key
-- per photo (at most 1,000). Returns {accepted, what counts against a feeder's bound}, or {-1, 0} for an unknown album, {-2, 0} for a
-- cancelled one.
--! include place.lua
local TENTH = 10 -- of the bound is open to a tenant, however much of others waits
local id, seen = ARGV[2], KEYS[11]
local album = album_of(id)
if not album.class then return {-1, 0} end
if album.gone then return {-2, 0} end
local now = string.format('%.0f', clock())
local own = prefix .. 'wait:' .. album.class .. ':' .. album.tenant
local entries = {}
for i = 3, #ARGV, 3 do
    local index = ARGV[i]
    if call('SETBIT', seen, index, 1) == 0 then
        entries[#entries + 1] =
            table.concat({id, index, '0 0', ARGV[i + 1], now, ARGV[i + 2]}, ' ')
    end
end
if #entries > 0 then
    push('RPUSH', own, entries)
    activate(album.class, album.tenant)
    album.change = {total = #entries, waiting = #entries}
    write_books()
end
-- What waits in other albums, or of other tenants, that are paused is in nobody's way.
local all = math.max(tonumber(call('GET', backlog) or 0) - paused_waiting(KEYS[12], id) -
    paused_tenants_waiting(album.tenant), 0)
return {#entries, math.min(all, TENTH * (call('LLEN', own) + call('LLEN', prefix .. 'aside:' .. id)))}
