-- Brings back what is due, then leases a batch.
-- KEYS: the queue's nine, weights, paused, resuming, passed. ARGV: prefix, token prefix, first sequence, most jobs, most
-- cost in ms, lease in ms, losses that make a job dead.
-- Returns {more, now, entry...}: `more` is 1 when the work of one call ended in the middle of a
-- heap of cancelled or paused entries, so that an empty batch does not mean an empty queue.
--! include place.lua
local token, sequence = ARGV[2], tonumber(ARGV[3])
local most_jobs, most_cost = tonumber(ARGV[4]), tonumber(ARGV[5])
local now = clock()
local expiry = now + tonumber(ARGV[6])
local DUE, STALE = 256, 2000 -- bounds of the work in one call
local batch, jobs, taken = {}, {}, {} -- entries, their jobs' ids, how many of each album
local batch_cost, stale = 0, 0

-- Leases that ran out.
local function expire()
    local due = call('ZRANGEBYSCORE', leases, '-inf', now, 'WITHSCORES', 'LIMIT', 0, DUE)
    for i = 1, #due, 2 do
        local value = call('HGET', leased, due[i])
        call('ZREM', leases, due[i])
        if value then
            call('HDEL', leased, due[i])
            lose(value, tonumber(due[i + 1]), tonumber(ARGV[7]))
        end
    end
end

-- Delayed jobs whose time has come. They go ahead of younger ones.
local function promote()
    local entries = call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, DUE)
    if #entries == 0 then return end
    call('ZREM', delayed, unpack(entries))
    for _, entry in ipairs(entries) do
        local id, _, _, losses = parse(entry)
        if id and not album_of(id).gone then
            wait_again(id, tonumber(losses), entry)
            count(id, 'delayed', 'waiting')
        end
    end
    write_waiting()
end

-- What waits of a paused album is set aside when it is come upon, so that it is not in the way of others.
local aside = {}
local function write_aside()
    for id, entries in pairs(aside) do push('RPUSH', prefix .. 'aside:' .. id, entries) end
end

-- What was set aside of an album that goes on waits again, ahead of younger ones, some with every claim:
-- from the last to the first, so that the order stays.
local function bring_back()
    local id = call('SRANDMEMBER', KEYS[12])
    if not id then return end
    local list = prefix .. 'aside:' .. id
    local entries = call('LRANGE', list, -DUE, -1)
    call('LTRIM', list, 0, -DUE - 1)
    for _, entry in ipairs(entries) do
        local _, _, _, losses = parse(entry)
        if not album_of(id).gone then wait_again(id, tonumber(losses), entry) end
    end
    write_waiting()
    if #entries < DUE then call('SREM', KEYS[12], id) end
end

-- Puts an entry into the batch. Returns its cost, 0 when it leaves the list without (a cancelled or a
-- paused album's), or nil when it does not fit any more.
local function take(entry)
    local id, index, cost = string.sub(entry, 1, 36), string.match(entry, '^ (%d+) %d+ %d+ (%d+)', 37) -- an album's id is a UUID
    local album = index and album_of(id)
    if not index or album.gone then
        stale = stale + 1
        return 0
    end
    if album.paused then
        stale = stale + 1
        aside[id] = aside[id] or {}
        table.insert(aside[id], entry)
        return 0
    end
    cost = cost + 0 -- takes half the time of tonumber()
    if #batch > 0 and batch_cost + cost > most_cost then return nil end
    local n = #batch + 1
    batch[n], jobs[n], taken[id] = entry, id .. ':' .. index, (taken[id] or 0) + 1
    batch_cost = batch_cost + cost
    return cost
end

-- A job with a loss behind it comes alone. Its tenant has paid for it once and is not charged
-- for the worker's fault.
local function take_single()
    while #batch == 0 and stale < STALE do
        local entry = call('LPOP', single)
        if not entry then return end
        take(entry)
    end
end

-- The tenant that has had the least, and what the next one has had.
local function least(tenants)
    local best, limit = nil, math.huge
    for _, t in ipairs(tenants) do
        if not t.empty then
            if not best then
                best = t
            elseif t.v < best.v then
                best, limit = t, best.v
            else
                limit = math.min(limit, t.v)
            end
        end
    end
    return best, limit
end

-- Takes entries of one tenant until it has had as much as the next one (`limit`). The list is
-- read in chunks and cut once, in put_back(). Returns false when the batch is full.
local function serve(t, limit)
    repeat
        local entry = t.chunk[t.at]
        if not entry then
            local size = t.used == 0 and most_jobs - #batch + 1 or DUE -- one more tells put_back() whether any is left
            t.chunk, t.at = call('LRANGE', t.list, t.used, t.used + size - 1), 1
            entry = t.chunk[1]
            if not entry then
                t.empty = true
                return true
            end
        end
        local cost = take(entry)
        if not cost then return false end
        t.at, t.used, t.v = t.at + 1, t.used + 1, t.v + cost / t.weight
        if #batch >= most_jobs or stale >= STALE then return false end
    until t.v >= limit
    return true
end

-- Cuts what was used and writes the tenant's virtual time. When nobody of the class waits any
-- more the busy period is over and everybody starts equal again.
local function put_back(class, t)
    if t.used == 0 and not t.empty then return end
    call('LTRIM', t.list, t.used, -1)
    if t.chunk[t.at] or call('EXISTS', t.list) == 1 then
        call('ZADD', active[class], t.v, t.name)
        return
    end
    call('ZREM', active[class], t.name)
    if call('EXISTS', active[class]) == 1 then
        call('HSET', vtime[class], t.name, string.format('%.17g', t.v))
    else
        call('DEL', vtime[class])
    end
end

-- Fills the batch from one class by weighted fair share. A batch of n needs n tenants at most,
-- those with the least virtual time; when they held too little, the next ones follow (the first
-- have left `active` by then). Returns false when the batch is full.
local function take_class(class)
    local found = call('ZRANGE', active[class], 0, most_jobs - #batch - 1, 'WITHSCORES')
    if #found == 0 then return true end
    local tenants, names = {}, {}
    for i = 1, #found, 2 do
        names[#names + 1] = found[i]
        tenants[#tenants + 1] = {name = found[i], v = tonumber(found[i + 1]), used = 0, at = 1,
            chunk = {}, list = prefix .. 'wait:' .. class .. ':' .. found[i]}
    end
    for i, weight in ipairs(call('HMGET', KEYS[10], unpack(names))) do
        weight = tonumber(weight or 1) or 1
        tenants[i].weight = weight > 0 and weight or 1
    end
    local room = true
    while room do
        local t, limit = least(tenants)
        if not t then break end
        room = serve(t, limit)
    end
    for _, t in ipairs(tenants) do put_back(class, t) end
    return room and take_class(class)
end

-- Interactive photos go before bulk ones; when they have filled nine claims in a row while those waited, the next is bulk's.
local function take_classes()
    local passed = tonumber(call('GET', KEYS[13]) or 0)
    if passed >= 9 then
        local room = take_class('bulk')
        if room or #batch > 0 then call('DEL', KEYS[13]) end -- else it met a heap of stale entries, and the turn is kept
        if room then take_class('interactive') end
    elseif take_class('interactive') then
        if passed > 0 then call('DEL', KEYS[13]) end
        take_class('bulk')
    elseif #batch > 0 and call('EXISTS', active.bulk) == 1 then
        call('INCR', KEYS[13])
    end
end

local function lease()
    local values, expiries = {}, {}
    local at = string.format('%.0f', expiry) -- text: Redis would print every number to 17 digits
    for i, entry in ipairs(batch) do
        values[2 * i - 1], values[2 * i] = jobs[i], token .. string.format('%d ', sequence + i - 1) .. entry
        expiries[2 * i - 1], expiries[2 * i] = at, jobs[i]
    end
    for id, n in pairs(taken) do count(id, 'waiting', 'leased', n) end
    call('HSET', leased, unpack(values))
    call('ZADD', leases, unpack(expiries))
end

expire()
promote()
bring_back()
if call('EXISTS', KEYS[11]) == 0 then
    take_single()
    if #batch == 0 then take_classes() end
    write_aside()
end
if #batch > 0 then lease() end
write_books()
local reply = {stale >= STALE and 1 or 0, now}
for i, entry in ipairs(batch) do reply[i + 2] = entry end
return reply
