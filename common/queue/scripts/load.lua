-- What there is to do and who does it.
-- KEYS: the queue's nine, workers, paused, paused:albums, resuming. ARGV: prefix, ms until a worker is
-- forgotten.
-- Returns {waiting, delayed, leased, workers, cost in ms of what waits or is delayed and is not paused, age in
-- ms of the oldest of that, whether all is paused, photos ever lost, retried, dead, bytes in use by the server, its
-- limit (0: none, or it does not say)}. The cost is the mean of some entries, from the head of
-- each list, times how many there are.
--! include place.lua
local LISTS, LOOKS, LOOKS_EACH = 1000, 2000, 64 -- bounds of the work in one call
local now, halted = clock(), call('EXISTS', KEYS[11])
local live, any = {sum = 0, count = 0}, {sum = 0, count = 0}
local oldest

local function note(mean, ms)
    mean.sum, mean.count = mean.sum + tonumber(ms), mean.count + 1
end

local function look(entries, waits)
    for _, entry in ipairs(entries) do
        local id, ms, since = string.match(entry, '^(%S+) %d+ %d+ %d+ (%d+) (%d+)')
        if id then
            note(any, ms)
            if not album_of(id).gone and not album_of(id).paused then
                note(live, ms)
                if waits then oldest = math.min(oldest or now, tonumber(since)) end
            end
        end
    end
end

local lists = {single}
for _, id in ipairs(call('SRANDMEMBER', KEYS[13], LISTS)) do
    lists[#lists + 1] = prefix .. 'aside:' .. id
end
for class, tenants in pairs(active) do
    for _, tenant in ipairs(call('ZRANGE', tenants, 0, LISTS - 1)) do
        lists[#lists + 1] = prefix .. 'wait:' .. class .. ':' .. tenant
    end
end
local looks = math.min(LOOKS_EACH, math.ceil(LOOKS / #lists))
for _, list in ipairs(lists) do look(call('LRANGE', list, 0, looks - 1), true) end
look(call('ZRANGE', delayed, 0, looks - 1), false)

local waiting, later = tonumber(call('GET', backlog) or 0), call('ZCARD', delayed)
local count = halted == 1 and 0 or math.max(waiting - paused_waiting(KEYS[12]) - paused_tenants_waiting() + later, 0)
local mean = live.count > 0 and live or any -- when all that was looked at is about to be dropped
local cost = mean.count > 0 and mean.sum / mean.count * count or 0
local waited = halted == 0 and oldest and math.max(now - oldest, 0) or 0
local tallied = call('HMGET', prefix .. 'tally', 'lost', 'retried', 'dead')
local info = redis.pcall('INFO', 'memory') -- a user may lack the right
local function memory(name)
    return tonumber(type(info) == 'string' and string.match(info, '\n' .. name .. ':(%d+)') or 0)
end
return {waiting, later, call('HLEN', leased),
    call('ZCOUNT', KEYS[10], now - tonumber(ARGV[2]), '+inf'), math.floor(cost), waited, halted,
    tonumber(tallied[1] or 0), tonumber(tallied[2] or 0), tonumber(tallied[3] or 0),
    memory('used_memory'), memory('maxmemory')}
